package blockio

import "fmt"

// Check reads every directory and table entry of the disk at path, and the sizes of its files, and returns what is wrong, at most
// a hundred things: each is ErrCorrupt with file and offset. It reads no data and changes nothing. The error is for a disk that could not
// be looked at; one that is too damaged to be opened counts as a finding.
func Check(path string) (findings []error, err error) {
	l, err := examine(path)
	if err != nil {
		return asFinding(err)
	}
	m, err := l.open(false)
	if err != nil {
		return asFinding(err)
	}
	defer m.Close()
	for _, p := range m.parts {
		s, ok := p.extent.(*sparseExtent)
		if !ok {
			continue
		}
		c, err := s.check()
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
	return findings, nil
}
