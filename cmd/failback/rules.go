package main

import (
	"fmt"
	"io"
	"strings"

	"failback/replication"
	"failback/replication/preflight"
)

// rulesJSON is the document of --list and --explain.
type rulesJSON struct {
	Codes []preflight.Rule `json:"codes"`
}

// listRules prints all codes that a finding can have.
func (t *tool) listRules() error {
	rules := preflight.Rules()
	return t.print(rulesJSON{rules}, func(w io.Writer) {
		rows := [][]string{{"CODE", "WORST", "ASR", "WHAT IS FOUND"}}
		for _, r := range rules {
			rows = append(rows, []string{r.Code, string(r.Worst), r.ASR, r.What})
		}
		table(w, rows)
	})
}

// explainRule prints what a code stands for, ours or one of Azure Site Recovery's.
func (t *tool) explainRule(code string) error {
	rules := preflight.Like(code)
	if r, ok := preflight.Explain(code); ok {
		rules = []preflight.Rule{r}
	}
	if len(rules) == 0 {
		p := &replication.Problem{Code: "no-such-code", Message: fmt.Sprintf("%q is no code of a finding", code), Remedy: "failback check --list tells all that there are"}
		if where := preflight.Elsewhere(code); where != "" {
			p.Message, p.Remedy = fmt.Sprintf("no check finds what Azure Site Recovery has the code %s for: %s", code, where), "none needed"
		} else if near := preflight.Near(code); len(near) > 0 {
			p.Remedy = "did you mean " + strings.Join(near, ", ") + "? " + p.Remedy
		}
		return p
	}
	return t.print(rulesJSON{rules}, func(w io.Writer) {
		for _, r := range rules {
			fmt.Fprintf(w, "%s: %s at worst", r.Code, r.Worst)
			if r.ASR != "" {
				fmt.Fprintf(w, "; Azure Site Recovery has the code %s", r.ASR)
			}
			fmt.Fprintf(w, "\n  What is found: %s\n  What to do: %s\n", r.What, r.Remedy)
		}
	})
}
