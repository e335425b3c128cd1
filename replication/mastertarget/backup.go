package mastertarget

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"failback/replication"
	"failback/replication/backup"
	"failback/replication/plan"
	"failback/replication/preflight"
	"failback/retention"
)

// restoredFrom says which backup a group's record is of. The record is believed only as far as the group's journal does not know better.
type restoredFrom struct {
	Owner      string                 `json:"owner"`                // the master target that was backed up, as journals name it
	Generation replication.Generation `json:"generation,omitempty"` // the group's then; 0: not known
	Renew      *renewal               `json:"renew,omitempty"`      // an operator had given the journal up; nil: he had not
}

// backedUp are the buckets that a backup has. Drills and tokens are of the process that made them.
var backedUp = [][]byte{bucketGroups, bucketFarewells, bucketPaces, bucketNames}

// Backup returns what is kept of this master target, but for its jobs.
func (e *Engine) Backup() (backup.File, error) {
	f, err := e.cat.backup()
	if err != nil {
		return f, err
	}
	f.Program = e.cfg.Version
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, g := range e.groups {
		if g.isOpen() || g.isAway() {
			f.Generations[id] = g.journal.Generation()
		}
	}
	return f, nil
}

// ReadBackup returns the same of a master target that does not run, by its state directory. Generations are not known.
func ReadBackup(state string) (f backup.File, err error) {
	cat, err := openCatalogueFile(filepath.Join(state, catalogueName), true)
	if errors.Is(err, os.ErrNotExist) {
		return f, &replication.Problem{Code: "state", Message: fmt.Sprintf("%s is not the state directory of a master target", state), Err: err, Remedy: "name the directory that it is started with (--state)"}
	}
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, cat.close()) }()
	return cat.backup()
}

func (c *catalogue) backup() (backup.File, error) {
	host, _ := os.Hostname()
	f := backup.File{Made: time.Now().UTC(), Host: host, Machine: machineID(host), Records: map[string]map[string]json.RawMessage{}, Generations: map[replication.GroupID]replication.Generation{}, Jobs: []replication.Job{}}
	err := c.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		f.Owner, f.Throttle = string(meta.Get(keySelf)), string(meta.Get(keyThrottle))
		for _, b := range backedUp {
			all := map[string]json.RawMessage{}
			f.Records[string(b)] = all
			if err := tx.Bucket(b).ForEach(func(k, v []byte) error {
				all[string(k)] = slices.Clone(v)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("back the catalogue up: %w", err)
	}
	return f, nil
}

// Restore makes a catalogue of a backup, in a state directory that has none. The master target that is started with it is another one to journals: it takes each group over from its journal, as by adopt, if that is still the one's that was
// backed up. oldHostIsOff is the operator's word that this one does not run any more, where it was on another machine; rest makes what else belongs into the directory, before the catalogue is there. Where a master target runs with the directory, or another restore is under way there, nothing is changed (state-in-use).
func Restore(state string, f backup.File, oldHostIsOff bool, rest func() error) (err error) {
	host, _ := os.Hostname()
	if here := machineID(host); !oldHostIsOff && (f.Machine == "" || f.Machine != here) {
		return &replication.Problem{Code: preflight.CodeOldHost, Message: fmt.Sprintf("the backup is of the master target on %s, another machine: from here it can't be seen whether that one still writes to the disks", f.Host),
			Remedy: "make sure that it is off, or can't reach journals and disks any more, and say so: --old-host-is-off"}
	}
	records, err := restoredRecords(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	lock, err := lockState(state, time.Second) // of two restores, one begins: catalogue and jobs are of one backup
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	path := filepath.Join(state, catalogueName)
	inUse := &replication.Problem{Code: "state-in-use", Message: fmt.Sprintf("state directory %s has a catalogue already", state),
		Remedy: "name an empty directory, which is to be made where there is none; one whose catalogue is damaged is one when catalogue.db is moved away"}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return inUse
	}
	if err := backup.RemoveLeft(state, catalogueName); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	temp, err := backup.CreateTemp(state, catalogueName) // not the catalogue until it is whole
	if err != nil {
		return err
	}
	made := temp.Name()
	defer os.Remove(made)
	if err := temp.Close(); err != nil {
		return err
	}
	cat, err := openCatalogueFile(made, false)
	if err != nil {
		return err
	}
	err = cat.db.Update(func(tx *bbolt.Tx) error {
		if err := tx.Bucket(bucketMeta).Put(keyThrottle, []byte(f.Throttle)); err != nil {
			return err
		}
		for _, x := range records {
			if err := tx.Bucket(x.bucket).Put([]byte(x.key), x.value.(json.RawMessage)); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, cat.close()); err == nil {
		err = rest()
	}
	if err == nil {
		err = os.Link(made, path) // not over one that an earlier release, which does not know the lock, has made meanwhile
	}
	if err != nil {
		if _, lerr := os.Lstat(path); lerr == nil { // it may have removed ours
			return inUse
		}
		return fmt.Errorf("restore the catalogue: %w", err)
	}
	d, err := os.Open(state)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// restoredRecords are the records of a backup, as the catalogue is to have them: groups that have yet to be taken over.
func restoredRecords(f backup.File) (all []change, err error) {
	refuse := func(err error, format string, args ...any) error {
		return &replication.Problem{Code: "backup", Message: "the backup can't be restored: " + fmt.Sprintf(format, args...), Err: err, Remedy: "restore another one; or start with an empty state directory, and take each group over from its journal: failback adopt"}
	}
	for bucket, records := range f.Records {
		if !slices.ContainsFunc(backedUp, func(b []byte) bool { return string(b) == bucket }) {
			return nil, refuse(nil, "it has records of a kind %q", bucket)
		}
		for key, v := range records {
			if bucket == string(bucketGroups) {
				var r groupRecord
				if err := json.Unmarshal(v, &r); err != nil {
					return nil, refuse(err, "record of group %s", key)
				}
				if p, err := plan.Parse(r.Plan); err != nil || string(p.Group) != key {
					return nil, refuse(err, "plan of group %s", key)
				}
				r.Restored, r.Move, r.Finishing, r.Renew, r.Resync = &restoredFrom{f.Owner, f.Generations[replication.GroupID(key)], r.Renew}, nil, false, nil, false
				if v, err = json.Marshal(r); err != nil {
					return nil, err
				}
			}
			all = append(all, change{[]byte(bucket), replication.GroupID(key), v})
		}
	}
	return all, nil
}

// takeRestored takes over, from its journal, a group whose record is of a backup. The journal outranks the record: its plan, its points, and its generation, which rises above the backup's too (I7). No command runs that was given before.
// Where it is cut off, it is done again.
func (g *group) takeRestored(from restoredFrom) (err error) {
	e, dir := g.engine, g.engine.journalDir(g.id)
	j, err := retention.OpenAs(dir, g.id, from.Owner)
	var owned *retention.Owned
	if errors.As(err, &owned) && owned.Owner.ID == e.self.ID {
		j, err = retention.OpenAs(dir, g.id, e.self.ID)
	}
	if err != nil {
		return journalProblem(g.id, err)
	}
	defer func() {
		if cerr := j.Close(); cerr != nil && err == nil {
			err = journalProblem(g.id, cerr)
		}
	}()
	if _, _, released := j.Owner(); released {
		return &replication.Problem{Code: preflight.CodeTakenOver, Message: fmt.Sprintf("group %s was unprotected after the backup was made, and its journal was kept", g.id),
			Remedy: fmt.Sprintf("to forget it here: failback unprotect %s; then, to protect it again with its points: failback adopt %s", g.id, dir)}
	}
	p, err := g.planOf(j)
	if err != nil {
		return err
	}
	held := g.held()
	if s, known := j.Settings(); known {
		held = s.Held
	}
	atLeast := from.Generation
	if r := from.Renew; r.begun(j) { // else the word is void: the group goes on with the journal that it was to give up, and asks anew, or the new one has all of it
		if err := r.hold(j); err != nil {
			return journalProblem(g.id, err)
		}
		atLeast = max(atLeast, r.Generation)
	}
	generation, err := j.TakeOver(e.self, atLeast)
	if err == nil {
		err = j.RecordSettings(settingsOf(p, held))
	}
	if err == nil {
		err = withoutCommands(j)
	}
	if err != nil {
		return journalProblem(g.id, err)
	}
	bye := []change{{bucketFarewells, g.id, nil}, {bucketFarewells, farewellKey(g.id, p.ProcessServer), nil}} // of before the group came back to it
	if was := g.plan.ProcessServer; was != p.ProcessServer {                                                  // the group has moved since, and who had it may not have heard that
		f := farewell{Worker: was, Spec: specOf(g.plan, j.Identity().Disks, replication.Session{Group: g.id, Generation: generation})}
		f.Spec.Instance = j.Identity().UUID
		bye = append(bye, change{bucketFarewells, farewellKey(g.id, was), f})
	}
	e.reached("restored")
	if err := g.changeRecord(func(r *groupRecord) { r.Plan, r.Disks, r.Held, r.Restored = p.Canonical(), p.Names(), held, nil }, bye...); err != nil {
		return err
	}
	g.log.Info("group restored: taken over from its journal", "generation", generation, "points", len(j.Points()))
	g.happened(replication.EventPlan, replication.Healthy, 0, "the group was restored from a backup, and taken over from its journal: %d points, generation %d", len(j.Points()), generation)
	return g.openedAnew()
}

// planOf is the plan that a journal keeps, or, of one that keeps none, the group's, if it has the journal's disks.
func (g *group) planOf(j *retention.Journal) (*plan.Plan, error) {
	names := namesOf(j.Identity().Disks)
	s, _ := j.Settings()
	for _, text := range [][]byte{[]byte(s.Plan), g.plan.Canonical()} {
		p, err := plan.Parse(text)
		if err != nil || p.Group != g.id {
			continue
		}
		if p.Number(names); slices.Equal(p.Names(), names) {
			return p, nil
		}
	}
	return nil, &replication.Problem{Code: "plan", Message: fmt.Sprintf("neither the journal of group %s nor the backup has a plan with the journal's disks", g.id),
		Remedy: fmt.Sprintf("failback unprotect %s forgets it here, and leaves the journal; then failback adopt --plan FILE %s", g.id, g.engine.journalDir(g.id))}
}
