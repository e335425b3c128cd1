package mastertarget

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"go.etcd.io/bbolt"

	"failback/replication"
	"failback/replication/link"
)

// Codes of problems with names and tokens.
const (
	CodeNameBound = "name-bound"    // the name belongs to another key
	CodeNameInUse = "name-in-use"   // another one of the name is there
	CodeNotYours  = "not-yours"     // a call about a group of another process server
	CodeToken     = "token-refused" // unknown, used, or too old
)

// Bounds of tokens.
const (
	tokenLife    = time.Hour // where the operator does not say
	maxTokenLife = 24 * time.Hour
	maxTokens    = 1000 // at a time
	maxWrong     = 5    // wrong secrets, after which a token is void
)

// binding says to which key a process server's name belongs. The first that registers, or enrols, by the name has it.
type binding struct {
	Key   string    `json:"key"`
	Since time.Time `json:"since"`
}

// tokenRecord is what is kept of a token: not its secret.
type tokenRecord struct {
	Hash    []byte    `json:"hash"` // SHA-256 of the secret, which is random and of 128 bits
	Name    string    `json:"name"`
	Until   time.Time `json:"until"`
	Replace bool      `json:"replace"`
	Wrong   int       `json:"wrong"` // secrets that were tried
	Key     string    `json:"key"`   // that enrolled by it; "": not used
}

var keyForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// keyOf returns the key that a name is bound to, or "".
func (e *Engine) keyOf(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.names[name].Key
}

// bind gives the name of a process server that registers to its key, durably, or refuses it. Who comes without a key, within one process, is not looked at.
func (e *Engine) bind(p link.Peer) error {
	if p.Key == "" {
		return nil
	}
	return e.access(func(tx *bbolt.Tx) (map[string]binding, error) {
		was, bound, err := boundTo(tx, p.Name)
		switch {
		case err != nil:
			return nil, err
		case !bound:
			return putBinding(tx, p.Name, p.Key)
		case was.Key != p.Key:
			return nil, &replication.Problem{Code: CodeNameBound,
				Message: fmt.Sprintf("the name %s belongs to a process server with another key, %s, since %s; this one has the key %s", p.Name, was.Key, was.Since.Format(time.DateTime), p.Key),
				Remedy:  fmt.Sprintf("give each process server its own --name; if this one takes that one's place, or has a new key: failback rebind %s %s", p.Name, p.Key)}
		}
		return nil, nil
	})
}

// access changes names and tokens, durably, or not at all when f fails. Of the names that f returns, those without a key are no more.
func (e *Engine) access(f func(tx *bbolt.Tx) (map[string]binding, error)) error {
	e.accessing.Lock()
	defer e.accessing.Unlock()
	var changed map[string]binding
	err := e.cat.update(func(tx *bbolt.Tx) (err error) {
		changed, err = f(tx)
		return err
	})
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, b := range changed {
		if e.names[name] = b; b.Key == "" {
			delete(e.names, name)
		}
	}
	return nil
}

func boundTo(tx *bbolt.Tx, name string) (b binding, bound bool, err error) {
	v := tx.Bucket(bucketNames).Get([]byte(name))
	if v == nil {
		return b, false, nil
	}
	if err := json.Unmarshal(v, &b); err != nil {
		return b, false, fmt.Errorf("catalogue record of the name %s: %w", name, err)
	}
	return b, true, nil
}

func putBinding(tx *bbolt.Tx, name, key string) (map[string]binding, error) {
	b := binding{key, time.Now().UTC().Truncate(time.Second)}
	return map[string]binding{name: b}, putJSON(tx, bucketNames, name, b)
}

func putJSON(tx *bbolt.Tx, bucket []byte, id string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put([]byte(id), b)
}

// Rebind implements transport.Operations.
func (e *Engine) Rebind(_ context.Context, name, key string) (was string, err error) {
	if err := replication.ValidName(name); err != nil {
		return "", &replication.Problem{Code: "name", Message: err.Error(), Remedy: "give the process server's --name"}
	}
	if !keyForm.MatchString(key) {
		return "", &replication.Problem{Code: "name", Message: fmt.Sprintf("%q is not a key: 32 hexadecimal digits", key), Remedy: "copy it from the refusal of the process server, which is in its log and in ours"}
	}
	err = e.access(func(tx *bbolt.Tx) (map[string]binding, error) {
		b, _, err := boundTo(tx, name)
		if err != nil {
			return nil, err
		}
		was = b.Key
		return putBinding(tx, name, key)
	})
	if err != nil {
		return "", err
	}
	e.cfg.Log.Info("name bound to another key", "name", name, "was", was, "key", key)
	e.sendAway(name, key)
	return was, nil
}

// sendAway ends the connection of the process server of that name if it has another key.
func (e *Engine) sendAway(name, key string) {
	e.mu.Lock()
	w := e.workers[name]
	e.mu.Unlock()
	if w == nil || !w.connected() || w.Key == key || w.Key == "" {
		return
	}
	w.leave(errGone)
	if l, ok := w.Worker.(interface{ Leave(error) }); ok {
		l.Leave(&replication.Problem{Code: CodeNameBound, Message: fmt.Sprintf("the name %s was given to another key", name), Remedy: "give this process server another --name, or stop it"})
	}
	e.changed()
}

// Token implements transport.Operations.
func (e *Engine) Token(_ context.Context, name string, life time.Duration, replace bool) (link.Token, time.Time, error) {
	none := func(p *replication.Problem) (link.Token, time.Time, error) { return link.Token{}, time.Time{}, p }
	if err := replication.ValidName(name); err != nil {
		return none(&replication.Problem{Code: "name", Message: err.Error(), Remedy: "give the --name of the process server that is to enrol"})
	}
	if life == 0 {
		life = tokenLife
	}
	if life < time.Minute || life > maxTokenLife {
		return none(&replication.Problem{Code: "token", Message: fmt.Sprintf("a token for %v", life), Remedy: fmt.Sprintf("give a time from a minute to %v", maxTokenLife)})
	}
	if e.cfg.Pin == nil {
		return none(&replication.Problem{Code: "token", Message: "process servers can't enrol at this master target", Remedy: "give it enroller.crt and enroller.key"})
	}
	pin, err := e.cfg.Pin()
	if err != nil {
		return link.Token{}, time.Time{}, err
	}
	t := link.Token{Pin: pin}
	var id [8]byte
	rand.Read(id[:])
	rand.Read(t.Secret[:])
	t.ID = hex.EncodeToString(id[:])
	hash := sha256.Sum256(t.Secret[:])
	until := time.Now().UTC().Add(life).Truncate(time.Second)
	err = e.access(func(tx *bbolt.Tx) (map[string]binding, error) {
		b, bound, err := boundTo(tx, name)
		if err != nil {
			return nil, err
		}
		if bound && !replace {
			return nil, &replication.Problem{Code: CodeNameBound, Message: fmt.Sprintf("the name %s belongs to a process server already, with the key %s", name, b.Key),
				Remedy: "choose another name; if a new process server takes that one's place, say so by --replace"}
		}
		n, err := purge(tx, time.Now())
		if err != nil {
			return nil, err
		}
		if n >= maxTokens {
			return nil, &replication.Problem{Code: "token", Message: fmt.Sprintf("%d tokens are waiting to be used", n), Remedy: "wait until some of them have expired"}
		}
		return nil, putJSON(tx, bucketTokens, t.ID, tokenRecord{Hash: hash[:], Name: name, Until: until, Replace: replace})
	})
	if err != nil {
		return link.Token{}, time.Time{}, err
	}
	e.cfg.Log.Info("token made", "id", t.ID, "name", name, "until", until, "replace", replace)
	return t, until, nil
}

// purge drops tokens that are too old and returns how many are left.
func purge(tx *bbolt.Tx, now time.Time) (left int, err error) {
	bucket := tx.Bucket(bucketTokens)
	var old [][]byte
	err = bucket.ForEach(func(k, v []byte) error {
		var r tokenRecord
		if json.Unmarshal(v, &r) == nil && now.Before(r.Until) {
			left++
		} else {
			old = append(old, append([]byte(nil), k...))
		}
		return nil
	})
	for _, k := range old {
		if err == nil {
			err = bucket.Delete(k)
		}
	}
	return left, err
}

// Redeem takes a token for a key, and binds the token's name to it: durably, before it returns. By a token that is used its key alone may come again while it lasts: the answer may
// have been lost. Who does not know the secret learns nothing of the token.
func (e *Engine) Redeem(t link.Token, key string) (name string, err error) {
	refused := &replication.Problem{Code: CodeToken, Message: "the token is not one that can be used here: it is of another master target, was used, or has expired",
		Remedy: "make a new one with failback pki token"}
	var told error // committed all the same
	err = e.access(func(tx *bbolt.Tx) (map[string]binding, error) {
		bucket := tx.Bucket(bucketTokens)
		v := bucket.Get([]byte(t.ID))
		if v == nil {
			return nil, refused
		}
		var r tokenRecord
		if err := json.Unmarshal(v, &r); err != nil {
			return nil, fmt.Errorf("catalogue record of token %s: %w", t.ID, err)
		}
		hash := sha256.Sum256(t.Secret[:])
		if subtle.ConstantTimeCompare(hash[:], r.Hash) != 1 {
			told = refused
			if r.Wrong++; r.Wrong >= maxWrong {
				e.cfg.Log.Warn("token void: wrong secrets were tried", "id", t.ID, "name", r.Name, "times", r.Wrong)
				return nil, bucket.Delete([]byte(t.ID))
			}
			return nil, putJSON(tx, bucketTokens, t.ID, r)
		}
		if !time.Now().Before(r.Until) || r.Key != "" && r.Key != key {
			return nil, refused
		}
		name = r.Name
		if r.Key == key {
			return nil, nil
		}
		b, bound, err := boundTo(tx, r.Name)
		if err != nil {
			return nil, err
		}
		if bound && b.Key != key && !r.Replace {
			return nil, &replication.Problem{Code: CodeNameBound, Message: fmt.Sprintf("the name %s belongs to another process server since the token was made", r.Name),
				Remedy: "choose another name; if this process server takes that one's place, make a token with --replace"}
		}
		r.Key = key
		if err := putJSON(tx, bucketTokens, t.ID, r); err != nil {
			return nil, err
		}
		return putBinding(tx, r.Name, key)
	})
	if err == nil {
		err = told
	}
	if err != nil {
		return "", err
	}
	e.sendAway(name, key)
	return name, nil
}
