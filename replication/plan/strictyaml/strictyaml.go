package strictyaml

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxDepth bounds how deep a document may nest, aliases included.
const maxDepth = 32

// Error is one thing that is wrong in a document.
type Error struct {
	Line    int // from 1; 0: the document as a whole
	Message string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Message)
}

// Document is a document that is being read, and what was found to be wrong with it so far.
type Document struct {
	anchors map[string]ast.Node
	errs    []*Error
}

// Node is a value in a document. The zero Node is absent: it reads as empty, without an error.
type Node struct {
	doc   *Document
	node  ast.Node
	path  string // how people call it: "machines[0].disks[1].id"
	depth int
}

// Parse reads the syntax of one document. An empty one is an absent Node.
func Parse(b []byte) (*Document, Node, error) {
	d := &Document{anchors: make(map[string]ast.Node)}
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, Node{}, syntaxError(err)
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.NullType {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return d, Node{}, nil
	case 1:
		return d, d.at(bodies[0], "", 0), nil
	}
	return nil, Node{}, &Error{Line: lineOf(bodies[1]), Message: "a second document starts here; only one is read"}
}

func syntaxError(err error) error {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		return &Error{Line: y.GetToken().Position.Line, Message: y.GetMessage()}
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return &Error{Message: text}
}

// Err returns all that is wrong, by line, or nil.
func (d *Document) Err() []*Error {
	slices.SortStableFunc(d.errs, func(a, b *Error) int { return a.Line - b.Line })
	return d.errs
}

func (d *Document) fail(n ast.Node, format string, args ...any) {
	d.errs = append(d.errs, &Error{Line: lineOf(n), Message: fmt.Sprintf(format, args...)})
}

func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return lineOf(m.Values[0].Key)
	}
	if v, ok := n.(*ast.MappingValueNode); ok {
		return lineOf(v.Key)
	}
	return n.GetToken().Position.Line
}

// at wraps a node, with anchors noted, aliases followed and nulls made absent.
func (d *Document) at(n ast.Node, path string, depth int) Node {
	for depth <= maxDepth {
		switch t := n.(type) {
		case *ast.AnchorNode:
			d.anchors[t.Name.GetToken().Value] = t.Value
			n = t.Value
		case *ast.AliasNode:
			to, ok := d.anchors[t.Value.GetToken().Value]
			if !ok {
				d.fail(n, "no anchor &%s stands before its use", t.Value.GetToken().Value)
				return Node{}
			}
			n, depth = to, depth+1
		case *ast.TagNode:
			n = t.Value
		case *ast.NullNode, nil:
			return Node{}
		default:
			return Node{doc: d, node: n, path: path, depth: depth}
		}
	}
	d.fail(n, "nested too deep")
	return Node{}
}

// Present says whether there is a value.
func (n Node) Present() bool { return n.node != nil }

// Line returns the line on which the value starts, 0 if it is absent.
func (n Node) Line() int { return lineOf(n.node) }

// Fail notes that something is wrong with the value.
func (n Node) Fail(format string, args ...any) {
	if n.doc != nil {
		n.doc.fail(n.node, "%s: %s", n.path, fmt.Sprintf(format, args...))
	}
}

// IsMapping says whether the value is a mapping.
func (n Node) IsMapping() bool {
	switch n.node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// IsSequence says whether the value is a sequence.
func (n Node) IsSequence() bool {
	_, ok := n.node.(*ast.SequenceNode)
	return ok
}

// Mapping returns the values of a mapping by key. A key that is not among known is noted as wrong, with the nearest one that is.
func (n Node) Mapping(known ...string) map[string]Node {
	var pairs []*ast.MappingValueNode
	switch t := n.node.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		pairs = t.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{t}
	default:
		n.fail(fmt.Sprintf("here stand keys: %s", strings.Join(known, ", ")))
		return nil
	}
	values := make(map[string]Node, len(pairs))
	for _, pair := range pairs {
		key := pair.Key.GetToken().Value
		if !slices.Contains(known, key) {
			n.doc.fail(pair.Key, "%s", unknownKey(key, known))
			continue
		}
		path := key
		if n.path != "" {
			path = n.path + "." + key
		}
		values[key] = n.doc.at(pair.Value, path, n.depth+1)
	}
	return values
}

func (n Node) fail(want string) {
	what := n.path
	if what == "" {
		what = "the document"
	}
	n.doc.fail(n.node, "%s has the wrong form: %s", what, want)
}

// Sequence returns the values of a sequence.
func (n Node) Sequence() []Node {
	s, ok := n.node.(*ast.SequenceNode)
	if !ok {
		if n.Present() {
			n.fail(`here stands a list, each item on a line of its own that starts with "- "`)
		}
		return nil
	}
	var items []Node
	for i, v := range s.Values {
		items = append(items, n.doc.at(v, fmt.Sprintf("%s[%d]", n.path, i), n.depth+1))
	}
	return items
}

// Text returns a scalar as it is written, without quotes.
func (n Node) Text() string {
	switch t := n.node.(type) {
	case nil:
		return ""
	case *ast.LiteralNode:
		return t.Value.Value
	case *ast.StringNode:
		return t.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.node.GetToken().Value
	}
	n.fail("here stands a single value")
	return ""
}

// unknownKey says that key is not known, and which one may have been meant.
func unknownKey(key string, known []string) string {
	near, at := "", max(2, len(key)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(key), k); d < at {
			near, at = k, d
		}
	}
	if near == "" {
		return fmt.Sprintf("unknown key %q; known here: %s", key, strings.Join(known, ", "))
	}
	return fmt.Sprintf("unknown key %q; did you mean %q?", key, near)
}

// distance is the number of characters to change, add or remove to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
