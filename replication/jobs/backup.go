package jobs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"failback/replication"
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

// Restore puts jobs into a directory, unless there are jobs already: those are newer than any backup's. The next one has a number above all of them.
func Restore(dir string, all []replication.Job) (err error) {
	if _, err := os.Lstat(filepath.Join(dir, storeName)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	s, err := openStore(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
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
