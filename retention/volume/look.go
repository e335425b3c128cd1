package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"failback/replication"
)

// ErrLocked says that another master target has the retention volume.
var ErrLocked = errors.New("another master target has it")

const (
	patience     = 5 * time.Second       // for a volume to answer
	lockPatience = time.Second           // for one who only looks to let go of a lock
	lockPause    = 20 * time.Millisecond // between two tries
	maxNames     = 1000                  // names in a top directory that are looked at
)

// Looker looks at volumes for one master target. It is safe for concurrent use.
type Looker struct {
	dir    string // of the journals
	shared bool   // sharing is allowed

	locking sync.Mutex
	locks   []dirLock

	mu     sync.Mutex
	silent map[string]bool // what a goroutine is still waiting for, in vain so far
}

// New returns a Looker for the journals in dir. With shared, the rules about what else a volume is for warn only.
func New(dir string, shared bool) *Looker {
	return &Looker{dir: dir, shared: shared, silent: map[string]bool{}}
}

// Hold locks the retention directory and, unless sharing is allowed, the volume. Where both are held already, and are still what is found there, it does nothing.
func (l *Looker) Hold() error {
	l.locking.Lock()
	defer l.locking.Unlock()
	if len(l.locks) > 0 && !slices.ContainsFunc(l.locks, func(d dirLock) bool { return !d.stays() }) {
		return nil
	}
	l.releaseLocked() // something else is mounted there now, or nothing is
	dir, err := filepath.Abs(l.dir)
	if err != nil {
		return err
	}
	dirs := []string{dir}
	if t, root, err := mounted(); err == nil && !l.shared {
		if m, _, err := place(t, dir); err == nil && m.FS != root && !sameFile(m.Path, dir) {
			dirs = append(dirs, m.Path)
		}
	}
	for _, d := range dirs {
		lock, err := waitLock(d)
		if errors.Is(err, errors.ErrUnsupported) {
			continue
		}
		if err != nil {
			l.releaseLocked()
			return err
		}
		l.locks = append(l.locks, lock)
	}
	return nil
}

// waitLock locks a directory alone. One who only looks holds the lock for a moment.
func waitLock(dir string) (dirLock, error) {
	for end := time.Now().Add(lockPatience); ; time.Sleep(lockPause) {
		lock, err := lockDir(dir, true)
		if !errors.Is(err, ErrLocked) || time.Now().After(end) {
			return lock, err
		}
	}
}

// Release gives the locks back.
func (l *Looker) Release() {
	l.locking.Lock()
	defer l.locking.Unlock()
	l.releaseLocked()
}

func (l *Looker) releaseLocked() {
	for _, lock := range l.locks {
		_ = lock.Close() // the kernel gives it back in any case
	}
	l.locks = nil
}

// holds says whether we have the directory locked.
func (l *Looker) holds(dir string) bool {
	l.locking.Lock()
	defer l.locking.Unlock()
	return slices.ContainsFunc(l.locks, func(d dirLock) bool { return sameFile(d.Name(), dir) })
}

// Check judges the volume that the journals lie on. Uses is what else the master target uses. With probe, rename and sync are tried.
func (l *Looker) Check(ctx context.Context, uses []Use, probe bool) []replication.Finding {
	s, at, err := l.survey(uses)
	if err == nil && at.ID == 0 {
		err = fmt.Errorf("%s can't be found", l.dir)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return []replication.Finding{{Severity: replication.Warning, Code: CodeUnknown, Subject: l.dir, Message: "this system does not tell of its volumes: the retention volume was not judged", Remedy: "none"}}
	}
	if err != nil {
		return []replication.Finding{{Severity: replication.Error, Code: CodeUnknown, Subject: l.dir, Message: fmt.Sprintf("retention volume %s: %v", l.dir, err), Remedy: "mount the retention volume there, or name the directory where it is mounted by --retention"}}
	}
	v, _ := l.look(ctx, seen{Mount: at, asked: l.dir}, s, probe)
	return judge(v, s, l.shared)
}

// List tells of every mounted volume, by path. Uses is what the master target uses besides its retention directory.
func (l *Looker) List(ctx context.Context, uses []Use) ([]replication.Volume, error) {
	s, at, err := l.survey(uses)
	if err != nil {
		return nil, err
	}
	var (
		mu  sync.Mutex
		all []replication.Volume
		wg  sync.WaitGroup
	)
	for _, m := range s.table {
		k := kindOf(m.Type, 0)
		if k == kindPseudo || m.Hidden && (k == kindMemory || k == kindOverlay) {
			continue
		}
		wg.Go(func() {
			v := seen{Mount: m}
			if m.ID == at.ID {
				v.asked = l.dir
			}
			v, dir := l.look(ctx, v, s, true)
			if !dir || kindOf(m.Type, v.magic) == kindPseudo {
				return
			}
			findings := judge(v, s, l.shared)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, replication.Volume{
				Path: m.Path, Type: m.Type, Device: m.Device, Size: v.size, Free: v.free, Retention: m.ID == at.ID, Usable: !refused(findings), Findings: findings,
			})
		})
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b replication.Volume) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Device, b.Device))
	})
	return all, context.Cause(ctx)
}

func refused(findings []replication.Finding) bool {
	return slices.ContainsFunc(findings, func(f replication.Finding) bool { return f.Severity == replication.Error })
}

// survey reads what is mounted, and where everything lies; at is the mount of the journals, if they can be found.
func (l *Looker) survey(uses []Use) (s setting, at Mount, err error) {
	if s.table, s.root, err = mounted(); err != nil {
		return s, at, err
	}
	s.uses = make([]placed, len(uses))
	var wg sync.WaitGroup
	for i, u := range uses {
		wg.Go(func() {
			s.uses[i], _ = ask(l, "use "+u.Path, func() placed {
				m, device, _ := place(s.table, u.Path) // what can't be found takes no volume
				return placed{u, m.ID, device}
			})
		})
	}
	wg.Go(func() {
		at, _ = ask(l, "retention directory", func() (m Mount) {
			if _, err := os.Stat(l.dir); err == nil {
				m, _, _ = place(s.table, l.dir)
			}
			return m
		})
	})
	wg.Wait()
	return s, at, nil
}

// look fills in what is to be seen of a volume, within bounded time; dir says whether it is a directory: a single file can be a mount as well.
func (l *Looker) look(ctx context.Context, v seen, s setting, probe bool) (_ seen, dir bool) {
	if v.err = ctx.Err(); v.err != nil || v.Hidden {
		return v, true
	}
	if k := kindOf(v.Type, 0); k == kindNetwork || k == kindFUSE { // refused whatever they say, if they say anything
		v.passed = true
		return v, true
	}
	type sight struct {
		seen
		dir bool
	}
	got, ok := ask(l, fmt.Sprintf("volume %d", v.ID), func() sight {
		v := v
		if st, err := os.Stat(v.Path); err != nil || !st.IsDir() {
			v.err = err
			return sight{v, err != nil}
		}
		if v.err = statVolume(&v); v.err != nil {
			return sight{v, true}
		}
		if v.asked != "" {
			v.locked = errors.Is(l.Hold(), ErrLocked)
		}
		v.locked = v.locked || l.lockedByAnother(v.Path)
		if v.FS != s.root {
			v.state, v.foreign = company(v, s)
		}
		top := v.Path
		if v.asked != "" {
			top = v.asked
		}
		if v.probed = probe && !refused(judge(v, s, l.shared && v.asked != "")); v.probed {
			v.probe = Probe(top)
		}
		return sight{v, true}
	})
	if !ok {
		v.silent = true
		return v, true
	}
	return got.seen, got.dir
}

// Answers says whether the file system of a path, or that of its directory where there is none, answers within a few seconds: one of a network may be dead. What is not there at all answers.
func (l *Looker) Answers(path string) bool {
	_, ok := ask(l, "path "+path, func() error {
		v := seen{Mount: Mount{Path: path}}
		if _, err := os.Stat(path); err != nil {
			v.Path = filepath.Dir(path)
		}
		return statVolume(&v)
	})
	return ok
}

// lockedByAnother says whether somebody else has locked a volume.
func (l *Looker) lockedByAnother(top string) bool {
	if l.holds(top) {
		return false
	}
	lock, err := lockDir(top, false)
	if err == nil {
		lock.Close()
	}
	return errors.Is(err, ErrLocked)
}

// ask returns what do returns, unless it takes too long: then it says so, and does not ask again while do has not returned.
func ask[T any](l *Looker, key string, do func() T) (answer T, ok bool) {
	l.mu.Lock()
	waiting := l.silent[key]
	l.mu.Unlock()
	if waiting {
		return answer, false
	}
	answers := make(chan T, 1)
	over := false // guarded by mu
	go func() {
		answer := do()
		l.mu.Lock()
		over = true
		delete(l.silent, key)
		l.mu.Unlock()
		answers <- answer
	}()
	patient := time.NewTimer(patience)
	defer patient.Stop()
	select {
	case answer = <-answers:
		return answer, true
	case <-patient.C:
		l.mu.Lock()
		defer l.mu.Unlock()
		if !over {
			l.silent[key] = true
		}
		return answer, false
	}
}

// harmless names do not make a volume one that is used for anything else.
var harmless = []string{"lost+found", "System Volume Information", "$RECYCLE.BIN"}

// company returns the state directories in a volume's top directory and one level below it that are none of the uses, and the names of what is no journal.
func company(v seen, s setting) (state, foreign []string) {
	d, err := os.Open(v.Path)
	if err != nil {
		return nil, nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxNames)
	slices.Sort(names)
	for _, n := range names {
		p := filepath.Join(v.Path, n)
		switch {
		case slices.Contains(harmless, n) || strings.HasPrefix(n, ".failback-"):
		case isState(p):
			if !slices.ContainsFunc(s.uses, func(u placed) bool { return sameFile(u.Path, p) }) {
				state = append(state, p)
			}
		case isJournal(p), v.asked != "" && leads(p, v.asked):
		default:
			foreign = append(foreign, n)
		}
	}
	if isState(v.Path) && !slices.ContainsFunc(s.uses, func(u placed) bool { return sameFile(u.Path, v.Path) }) {
		state = append(state, v.Path)
	}
	return state, foreign
}

// isState says whether dir is the state directory of a process server or a master target.
func isState(dir string) bool {
	return exists(filepath.Join(dir, ".instances")) || exists(filepath.Join(dir, "catalogue.db"))
}

// isJournal says whether dir looks like a journal, or what is left of one.
func isJournal(dir string) bool {
	return exists(filepath.Join(dir, "lock")) && replication.ValidName(filepath.Base(dir)) == nil
}

// leads says whether p is dir or on the way to it.
func leads(p, dir string) bool {
	dir, err := filepath.Abs(dir)
	return err == nil && (dir == p || under(dir, p))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
