package throttle

// Demand is who wants a part of a rate.
type Demand struct {
	Weight int     // at least 1
	Least  float64 // bytes a second that it has whatever its weight is, if it could use them
	Want   float64 // bytes a second that it could use; below 0: as much as there is
}

// bound returns a part that is neither less nor more than it should be.
func (d Demand) bound(part float64) float64 {
	part = max(part, d.Least)
	if d.Want >= 0 {
		part = min(part, d.Want)
	}
	return part
}

// Divide divides a rate by weight, but nobody has less than his least: that is taken from the others, by their weights. What one does not want is the others'. The parts add up to no more than the
// rate; where the least of all does, each has as much less of it.
func Divide(rate float64, all []Demand) []float64 {
	parts := make([]float64, len(all))
	least := 0.
	for _, d := range all {
		least += d.bound(0)
	}
	if least >= rate {
		for i, d := range all {
			if least > 0 {
				parts[i] = d.bound(0) * max(rate, 0) / least
			}
		}
		return parts
	}
	settled := make([]bool, len(all))
	for rest := rate; ; {
		weight := 0
		for i, d := range all {
			if !settled[i] {
				weight += max(d.Weight, 1)
			}
		}
		if weight == 0 {
			return parts
		}
		over := 0. // what bounds ask for beyond what there is
		for i, d := range all {
			if !settled[i] {
				parts[i] = rest * float64(max(d.Weight, 1)) / float64(weight)
				over += d.bound(parts[i]) - parts[i]
			}
		}
		left := rest
		for i, d := range all { // those whose part can but be nearer to the bound when the others have theirs
			part := d.bound(parts[i])
			if settled[i] || over > 0 && part <= parts[i] || over < 0 && part >= parts[i] {
				continue
			}
			parts[i], settled[i] = part, true
			left -= part
		}
		rest = left
	}
}

// Least returns the bytes a second that each of so many groups has of a rate, however small its weight is beside the others': as much as keeps a link's signs of life going, and no more than half of
// what all would have with the same weight.
func Least(rate Rate, groups int) float64 {
	return min(float64(MinRate), float64(rate)/2/float64(max(groups, 1)))
}
