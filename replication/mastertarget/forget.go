package mastertarget

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"failback/replication"
)

// Codes of process servers that can't be forgotten.
const (
	CodeNoServer     = "no-such-process-server"
	CodeServerIsHere = "process-server-connected"
	CodeServerNeeded = "process-server-needed"
)

// ForgetServer implements transport.Operations. What orders are kept for it, to release what it may hold of groups that ended, stay: should it come again, it is given them.
func (e *Engine) ForgetServer(_ context.Context, name string) (key string, err error) {
	e.admitting.Lock() // it can't come meanwhile
	defer e.admitting.Unlock()
	e.mu.Lock()
	w, bound := e.workers[name], e.names[name]
	_, away := e.turnedAway[name]
	var needed []string
	for id, g := range e.groups {
		if g.plan.ProcessServer == name {
			needed = append(needed, string(id))
		}
	}
	e.mu.Unlock()
	slices.Sort(needed)
	switch {
	case len(needed) > 0:
		return "", &replication.Problem{Code: CodeServerNeeded, Message: fmt.Sprintf("process server %s is needed by %s", name, strings.Join(needed, ", ")),
			Remedy: "have another one read these groups first, by `failback move GROUP --process-server NAME`, or end them, by `failback unprotect` or `finish`"}
	case w != nil && w.connected():
		return "", &replication.Problem{Code: CodeServerIsHere, Message: fmt.Sprintf("process server %s is connected", name), Remedy: "stop it first; were it forgotten now, it would come again at once"}
	case w == nil && bound.Key == "" && !away:
		return "", &replication.Problem{Code: CodeNoServer, Message: fmt.Sprintf("no process server %q is known here", name), Remedy: "`failback status` lists them"}
	}
	err = e.access(func(tx *bbolt.Tx) (map[string]binding, error) {
		return map[string]binding{name: {}}, tx.Bucket(bucketNames).Delete([]byte(name))
	})
	if err != nil {
		return "", fmt.Errorf("take the name %s out of the catalogue: %w", name, err)
	}
	e.mu.Lock()
	delete(e.workers, name)
	delete(e.turnedAway, name)
	e.mu.Unlock()
	e.cfg.Log.Info("process server forgotten", "name", name, "key", bound.Key)
	e.happened(replication.EventProcessServer, replication.Healthy, "", name, "process server %s was forgotten by command", name)
	e.changed()
	return bound.Key, nil
}
