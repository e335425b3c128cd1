package mastertarget

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"go.etcd.io/bbolt"

	"failback/retention"
)

var keySelf = []byte("self")

// self says who this master target is: its name is made with its state directory.
func (c *catalogue) self() (retention.Owner, error) {
	host, _ := os.Hostname()
	o := retention.Owner{Host: host, Machine: machineID(host)}
	err := c.update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if id := meta.Get(keySelf); id != nil {
			o.ID = string(id)
			return nil
		}
		var b [16]byte
		rand.Read(b[:]) // never fails
		o.ID = hex.EncodeToString(b[:])
		return meta.Put(keySelf, []byte(o.ID))
	})
	if err != nil {
		return o, fmt.Errorf("name of this master target in the catalogue: %w", err)
	}
	return o, nil
}

// machineID names this machine; "" where that can't be told. What names it is not told itself. Two virtual machines of one template may have the same /etc/machine-id: the firmware's and the host's
// name count too. One that was renamed is taken for another: then the operator is asked.
func machineID(host string) string {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil || strings.TrimSpace(string(id)) == "" || host == "" {
		return ""
	}
	firmware, _ := os.ReadFile("/sys/class/dmi/id/product_uuid") // not everywhere, and for root only
	sum := sha256.Sum256([]byte("failback machine\x00" + strings.TrimSpace(string(id)) + "\x00" + strings.TrimSpace(string(firmware)) + "\x00" + host))
	return hex.EncodeToString(sum[:16])
}
