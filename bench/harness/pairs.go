package harness

import (
	"context"
	"fmt"

	"failback/bench/report"
)

// Pairs runs ours and a peer's in turn, each first every other time. They return units of work a second, as does the result.
func (l *Lab) Pairs(ctx context.Context, name, unit string, ours, peer func() (float64, error), theirs string) (*report.Scenario, error) {
	s := &report.Scenario{Name: name, About: name, Unit: unit + "/s"}
	rated := func(run func() (float64, error)) func(context.Context, int) (report.Sample, error) {
		return func(context.Context, int) (report.Sample, error) {
			return Measure(func() (report.Sample, error) {
				rate, err := run()
				return report.Sample{Rate: rate}, err
			})
		}
	}
	err := l.Alternate(ctx, s, []Way{{Name: "ours", Run: rated(ours)}, {Name: theirs, Peer: true, Run: rated(peer)}}, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.Finish()
	if len(s.Ways) > 1 && len(s.Ways[1].Samples) > 0 {
		l.Say("%s: %.2f of %s's", name, s.Ways[1].Ratio.Median, theirs)
	}
	return s, nil
}
