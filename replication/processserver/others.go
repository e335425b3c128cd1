package processserver

// others is what everybody else on this machine spends: so much whatever we do, and so much for each payload byte that leaves. The latter is nothing, but where the other end, or a tunnel, runs on
// this machine too. What is known of it is kept while what leaves does not vary enough to tell; older windows count less.
type others struct {
	n, x, y, xx, xy float64 // sums over windows, of payload bytes a second (x) and CPU seconds a second (y)
	each            float64 // CPU seconds a payload byte
}

// othersTrust is as lineTrust; and what is less than othersLeast, in CPU seconds a payload byte, is taken for noise: nobody takes bytes off a socket for that.
const (
	othersTrust = 0.002
	othersLeast = wireCost
)

// add takes a window whose idle share is known.
func (o *others) add(w window) {
	x := w.payload / w.seconds
	y := max((1-w.idle)*w.cores-w.own/w.seconds, 0)
	o.n, o.x, o.y = o.n*lineMemory+1, o.x*lineMemory+x, o.y*lineMemory+y
	o.xx, o.xy = o.xx*lineMemory+x*x, o.xy*lineMemory+x*y
	if o.xx == 0 {
		return
	}
	mx, my := o.x/o.n, o.y/o.n
	hold := othersTrust * o.xx / o.n
	o.each = max(0, (o.xy/o.n-mx*my+hold*o.each)/(o.xx/o.n-mx*mx+hold))
}

// forUs is what they spend for each payload byte.
func (o *others) forUs() float64 {
	if o.each < othersLeast {
		return 0
	}
	return o.each
}
