package jobs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"failback/replication"
	"failback/replication/backup"
)

// Read returns the jobs that are in the directory of a keeper that does not run: none, where there is none.
func Read(dir string) (all []replication.Job, err error) {
	path := filepath.Join(dir, storeName)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &store{db}
	defer func() { err = errors.Join(err, s.close()) }()
	return s.all()
}

// Restore puts jobs into a state directory, which the caller has locked, unless there are jobs already: those are newer than any backup's. The next one has a number above all of them.
func Restore(dir string, all []replication.Job) error {
	if _, err := os.Lstat(filepath.Join(dir, storeName)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := backup.RemoveLeft(dir, storeName); err != nil {
		return err
	}
	temp, err := backup.CreateTemp(dir, storeName) // not the store until it is whole
	if err != nil {
		return err
	}
	made := temp.Name()
	defer os.Remove(made)
	if err := temp.Close(); err != nil {
		return err
	}
	s, err := openStore(made)
	if err != nil {
		return err
	}
	if err := errors.Join(s.fill(all), s.close()); err != nil {
		return err
	}
	if err := os.Link(made, filepath.Join(dir, storeName)); err != nil {
		if _, lerr := os.Lstat(filepath.Join(dir, storeName)); lerr == nil { // made meanwhile, by one that may have removed ours
			return nil
		}
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// fill puts jobs into a new store, all or none.
func (s *store) fill(all []replication.Job) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for _, j := range all {
			if err := write(b, j); err != nil {
				return err
			}
			if err := b.SetSequence(max(b.Sequence(), j.ID)); err != nil {
				return err
			}
		}
		return nil
	})
}
