package throttle

// Demand is who wants a part of a rate.
type Demand struct {
	Weight int     // at least 1
	Want   float64 // bytes a second that it could use; below 0: as much as there is
}

// Divide divides a rate by weight. What one does not want is the others'. The parts add up to no more than the rate.
func Divide(rate float64, all []Demand) []float64 {
	parts := make([]float64, len(all))
	open := make([]bool, len(all))
	for i := range all {
		open[i] = true
	}
	for rest := rate; rest > 0; {
		weight := 0
		for i, d := range all {
			if open[i] {
				weight += max(d.Weight, 1)
			}
		}
		if weight == 0 {
			break
		}
		settled, left := false, rest
		for i, d := range all { // who wants less than his part has what he wants
			part := rest * float64(max(d.Weight, 1)) / float64(weight)
			if open[i] && d.Want >= 0 && d.Want <= part {
				parts[i], open[i], settled = d.Want, false, true
				left -= d.Want
			}
		}
		if settled {
			rest = left
			continue
		}
		for i, d := range all {
			if open[i] {
				parts[i] = rest * float64(max(d.Weight, 1)) / float64(weight)
			}
		}
		break
	}
	return parts
}
