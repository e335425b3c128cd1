package jobs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"failback/replication"
)

// storeName is the store's file.
const storeName = "jobs.db"

// store is jobs.db: a bucket "jobs" (id, 8 bytes big-endian → replication.Job as JSON). Every change is durable when its method returns.
type store struct{ db *bbolt.DB }

// kept is how many jobs are remembered.
const kept = 1000

var bucket = []byte("jobs")

func openStore(path string) (*store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return &store{db}, nil
}

// put notes a job. One without an id is given the next; the earliest ones that have ended go.
func (s *store) put(j *replication.Job) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if j.ID == 0 {
			id, err := b.NextSequence()
			if err != nil {
				return err
			}
			j.ID = id
			if err := prune(b); err != nil {
				return err
			}
		}
		return write(b, *j)
	})
	if err != nil {
		return fmt.Errorf("note job: %w", err)
	}
	return nil
}

func write(b *bbolt.Bucket, j replication.Job) error {
	v, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return b.Put(binary.BigEndian.AppendUint64(nil, j.ID), v)
}

// prune makes room for one more.
func prune(b *bbolt.Bucket) error {
	over := b.Stats().KeyN - kept + 1
	c := b.Cursor()
	for k, v := c.First(); k != nil && over > 0; k, v = c.Next() {
		var j replication.Job
		if err := json.Unmarshal(v, &j); err == nil && j.State == replication.JobRunning {
			continue
		}
		if err := c.Delete(); err != nil {
			return err
		}
		over--
	}
	return nil
}

// all returns the jobs, the earliest first.
func (s *store) all() (jobs []replication.Job, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(_, v []byte) error {
			var j replication.Job
			if err := json.Unmarshal(v, &j); err == nil { // else it is of another release
				jobs = append(jobs, j)
			}
			return nil
		})
	})
	return jobs, err
}

func (s *store) close() error { return s.db.Close() }
