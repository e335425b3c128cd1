package blockio

import "fmt"

// Check reads every directory and table entry of the disk at path and of the disks below it, the markers of compressed grains, the
// sizes of the files and the content ids of the chain, and returns what is wrong, at most a hundred things: each is a Damage with
// file and offset. It reads no data and changes nothing. The error is for a disk that could not be looked at; one that is too
// damaged to be opened counts as a finding.
func Check(path string) (findings []error, err error) {
	l, err := examine(path)
	if err != nil {
		return asFinding(err)
	}
	m, err := l.openChain()
	if err != nil {
		return asFinding(err)
	}
	defer m.Close()
	for at := m; at != nil; at = at.parent {
		for _, p := range at.parts {
			e, ok := p.extent.(*grainExtent)
			if !ok {
				continue
			}
			c, err := e.file.check()
			if err != nil {
				return nil, fmt.Errorf("check disk: %w", err)
			}
			for _, f := range c.findings {
				findings = append(findings, f.err)
			}
			if len(findings) >= maxFindings {
				return findings[:maxFindings], nil
			}
		}
	}
	return findings, nil
}
