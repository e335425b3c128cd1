package mastertarget

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"failback/replication"
	"failback/replication/link"
)

// catalogueVersion is the version of the catalogue's layout: buckets "groups" (GroupID → groupRecord), "farewells" (GroupID/worker, or, by an earlier release, GroupID → farewell), "drills" (GroupID →
// []drillRecord), "paces" (GroupID → paceRecord), "names" (of a process server → binding), "tokens" (id → tokenRecord) and "meta".
const catalogueVersion = "1"

// catalogue remembers the groups across restarts. Every change is durable when its method returns.
type catalogue struct {
	db   *bbolt.DB
	lock io.Closer // of the state directory; nil: it is not a running master target's

	// For tests: called as a change begins, and no other one is under way; nil: there is none.
	begins func() error
}

// groupRecord is what the catalogue knows of a group. Points, head and generation are in its journal.
type groupRecord struct {
	Plan    json.RawMessage      `json:"plan"`            // canonical
	Disks   []replication.DiskID `json:"disks,omitempty"` // by number; empty: in the order of the plan
	Created time.Time            `json:"created"`
	Held    bool                 `json:"held"`           // a rewind holds the head
	Move    *moveIntent          `json:"move,omitempty"` // the last move that an operator asked for, until another one; nil: none

	// Finishing: the group was committed, and is at its end: what is left of it goes.
	Finishing bool `json:"finishing,omitempty"`

	Resync   bool          `json:"resync,omitempty"`   // an operator wants a point made by comparing: until one is
	Renew    *renewal      `json:"renew,omitempty"`    // an operator has given the points up, as others have written to the disks: until there is another journal; nil: he has not
	Restored *restoredFrom `json:"restored,omitempty"` // the record is of a backup: the group has yet to be taken over from its journal; nil: it is not

	Priority int       `json:"priority,omitzero"` // set by command, in the place of the plan's; 0: the plan's
	Pass     time.Time `json:"pass,omitzero"`     // until when no limit counts for it
}

// farewell is an order to forget a group that its process server, or one that had it before, has not been given yet.
type farewell struct {
	Worker string    `json:"worker"`
	Spec   link.Spec `json:"spec"`
}

// farewellKey is the key of a farewell: a group may have left several process servers that are away.
func farewellKey(id replication.GroupID, worker string) replication.GroupID {
	return id + "/" + replication.GroupID(worker)
}

var (
	bucketGroups    = []byte("groups")
	bucketFarewells = []byte("farewells")
	bucketDrills    = []byte("drills")
	bucketPaces     = []byte("paces")
	bucketNames     = []byte("names")
	bucketTokens    = []byte("tokens")
	bucketMeta      = []byte("meta")
	keyVersion      = []byte("version")
	keyThrottle     = []byte("throttle") // the schedule's text
)

// catalogueName is the catalogue's file in a state directory.
const catalogueName = "catalogue.db"

// openCatalogue opens the catalogue in dir, and makes it where there is none. Until it is closed nobody else has the directory: no restore either, which would put jobs beside it that are not of it.
func openCatalogue(dir string) (*catalogue, error) {
	lock, err := lockState(dir, time.Second)
	if err != nil {
		return nil, err
	}
	c, err := openCatalogueFile(filepath.Join(dir, catalogueName), false)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	c.lock = lock
	return c, nil
}

// openCatalogueFile opens a catalogue by its path. One of a newer release is refused, and stays as it is. readOnly: it has to be there, and is not changed.
func openCatalogueFile(path string, readOnly bool) (*catalogue, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: readOnly})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, &replication.Problem{Code: "state-in-use", Message: fmt.Sprintf("state directory %s is in use", filepath.Dir(path)),
			Remedy: "another master target runs with it: stop that one, or give another directory"}
	}
	if err != nil {
		return nil, fmt.Errorf("open catalogue %s: %w", path, err)
	}
	use := db.Update
	if readOnly {
		use = db.View
	}
	err = use(func(tx *bbolt.Tx) error {
		var v []byte
		if meta := tx.Bucket(bucketMeta); meta != nil {
			v = meta.Get(keyVersion)
		}
		switch {
		case v != nil && string(v) != catalogueVersion:
			return &replication.Problem{Code: "state-version", Message: fmt.Sprintf("state directory %s: its catalogue is of version %s, and this program knows %s", filepath.Dir(path), v, catalogueVersion), Remedy: "run the release that wrote it, or a newer one"}
		case v == nil && readOnly:
			return fmt.Errorf("catalogue %s says no version", path)
		case readOnly:
			return nil
		}
		for _, b := range [][]byte{bucketGroups, bucketFarewells, bucketDrills, bucketPaces, bucketNames, bucketTokens, bucketMeta} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return fmt.Errorf("catalogue %s: %w", path, err)
			}
		}
		return tx.Bucket(bucketMeta).Put(keyVersion, []byte(catalogueVersion))
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return &catalogue{db: db}, nil
}

func (c *catalogue) close() error {
	err := c.db.Close()
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}

// update changes the catalogue, durably: as f does, or, where that fails or the power does, not at all.
func (c *catalogue) update(f func(*bbolt.Tx) error) error {
	return c.db.Update(func(tx *bbolt.Tx) error {
		if c.begins != nil {
			if err := c.begins(); err != nil {
				return err
			}
		}
		return f(tx)
	})
}

// change is a record that is put into a bucket, or, with a nil value, removed from it.
type change struct {
	bucket []byte
	key    replication.GroupID
	value  any
}

// change makes changes, all or none.
func (c *catalogue) change(changes ...change) error {
	err := c.update(func(tx *bbolt.Tx) error {
		for _, x := range changes {
			if x.value == nil {
				if err := tx.Bucket(x.bucket).Delete([]byte(x.key)); err != nil {
					return err
				}
				continue
			}
			b, err := json.Marshal(x.value)
			if err != nil {
				return err
			}
			if err := tx.Bucket(x.bucket).Put([]byte(x.key), b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write %s of the catalogue: %w", changes[0].key, err)
	}
	return nil
}

func (c *catalogue) put(bucket []byte, id replication.GroupID, v any) error {
	return c.change(change{bucket, id, v})
}

func (c *catalogue) remove(bucket []byte, id replication.GroupID) error {
	return c.change(change{bucket, id, nil})
}

// protected puts a group's record, which names the process server that has it now: what that one was to forget, it needs.
func (c *catalogue) protected(id replication.GroupID, r groupRecord, worker string, also ...change) error {
	return c.change(append([]change{{bucketGroups, id, r}, {bucketFarewells, id, nil}, {bucketFarewells, farewellKey(id, worker), nil}}, also...)...)
}

// each calls f for every record of a bucket, in the order of the groups' names.
func each[T any](c *catalogue, bucket []byte, f func(replication.GroupID, T) error) error {
	return c.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, b []byte) error {
			var v T
			if err := json.Unmarshal(b, &v); err != nil {
				return fmt.Errorf("catalogue record %s: %w", k, err)
			}
			return f(replication.GroupID(k), v)
		})
	})
}
