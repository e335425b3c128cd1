// Package strictyaml reads YAML that people write by hand, and is strict about it: every key must be known, and whatever is wrong is told with its
// line, all of it at once, with the nearest key that would have been right.
//
// It reads mappings, sequences and texts; what a text means is the reader's business, so that `id: 01` stays 01. Anchors and aliases work.
package strictyaml
