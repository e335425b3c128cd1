// Package preflight judges what was seen before a group is protected: its plan, sources, targets, the process server, the way to it, the machine of the master target, and the space there will have to be. What is judged was gathered
// before, by a master target; here are functions of values only, without I/O or clock, and all that they find is told at once.
//
// Rules is the one list of the codes that a finding can have, also of those that other packages find (plans, retention volumes, adoptions); failback check --list prints it. A test sees to it that no code is found that is not in it,
// and none is in it that no test stages. Where Azure Site Recovery has a code for the same thing, the rule names it.
package preflight

import "failback/replication"

// judge collects findings.
type judge struct{ found []replication.Finding }

// find notes a finding. Without a remedy it has the rule's.
func (j *judge) find(s replication.Severity, code, subject, message, remedy string) {
	if r, _ := Explain(code); remedy == "" {
		remedy = r.Remedy
	}
	j.found = append(j.found, replication.Finding{Severity: s, Code: code, Subject: subject, Message: message, Remedy: remedy})
}

// problem notes an error as a finding.
func (j *judge) problem(subject string, err error) {
	p := replication.AsProblem(err)
	j.find(replication.Error, p.Code, subject, p.Error(), p.Remedy)
}

// Number gives findings that are faults the codes of Azure Site Recovery, where it has one for the same thing.
func Number(findings []replication.Finding) {
	for i := range findings {
		if r, ok := Explain(findings[i].Code); ok && findings[i].Severity != replication.Info {
			findings[i].ASR = r.ASR
		}
	}
}
