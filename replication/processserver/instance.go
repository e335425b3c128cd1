package processserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"failback/replication"
	"failback/replication/link"
	"failback/source"
)

// instanceDir holds, for each group, a file with the name of the protection that its state belongs to. No group can have the directory's name.
const instanceDir = ".instances"

// instance returns the name of the protection that the group's state belongs to; "" when there is none.
func (e *Engine) instance(id replication.GroupID) (string, error) {
	b, err := os.ReadFile(filepath.Join(e.cfg.Dir, instanceDir, string(id)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read whose state of group %s this is: %w", id, err)
	}
	return string(b), nil
}

// setInstance notes it, durably; "" removes the note.
func (e *Engine) setInstance(id replication.GroupID, instance string) error {
	dir := filepath.Join(e.cfg.Dir, instanceDir)
	name := filepath.Join(dir, string(id))
	fail := func(err error) error { return fmt.Errorf("note whose state of group %s this is: %w", id, err) }
	if instance == "" {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail(err)
		}
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fail(err)
	}
	_, err = f.WriteString(instance)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return fail(err)
	}
	return nil
}

// renew makes sure that the group's state belongs to the protection of the order. What is there of another one is let go of: its points have the same
// numbers, and are not the same points.
func (e *Engine) renew(s link.Spec, specs []source.Spec) error {
	id := s.Session.Group
	was, err := e.instance(id)
	if err != nil || s.Instance == "" || was == s.Instance {
		return err
	}
	dir := e.dir(id)
	if _, err := os.Stat(dir); err == nil {
		e.cfg.Log.Warn("state of an earlier protection is let go of", "group", id)
		old, err := source.Open(dir, id, specs, e.cfg.Log)
		if err != nil {
			return fmt.Errorf("open the state of an earlier protection of group %s: %w", id, err)
		}
		if err := old.Forget(context.Background()); err != nil {
			old.Close()
			return sourceProblem(fmt.Sprintf("let go of an earlier protection of group %s", id), err)
		}
	}
	return e.setInstance(id, s.Instance)
}
