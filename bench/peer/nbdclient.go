package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// nbdDisk reads and writes an export of an NBD server on a unix socket, one request at a time: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
type nbdDisk struct {
	conn   net.Conn
	cookie uint64
}

// Numbers of the protocol.
const (
	nbdFixedNewstyle = 1 << 0
	nbdNoZeroes      = 1 << 1
	nbdExportName    = 1
	nbdRequest       = 0x25609513
	nbdReply         = 0x67446698
	nbdRead          = 0
	nbdWrite         = 1
	nbdFlush         = 3
)

func dialNBD(path, export string) (*nbdDisk, error) {
	c, err := dialSocket(path)
	if err != nil {
		return nil, err
	}
	d := &nbdDisk{conn: c}
	if err := d.negotiate(export); err != nil {
		return nil, errors.Join(fmt.Errorf("nbd: %w", err), c.Close())
	}
	return d, nil
}

func (d *nbdDisk) negotiate(export string) error {
	var hello struct {
		Magic [16]byte
		Flags uint16
	}
	if err := binary.Read(d.conn, binary.BigEndian, &hello); err != nil {
		return err
	}
	if string(hello.Magic[:]) != "NBDMAGICIHAVEOPT" || hello.Flags&nbdNoZeroes == 0 {
		return fmt.Errorf("the server says %q, flags %#x", hello.Magic, hello.Flags)
	}
	b := binary.BigEndian.AppendUint32(nil, nbdFixedNewstyle|nbdNoZeroes)
	b = append(b, "IHAVEOPT"...)
	b = binary.BigEndian.AppendUint32(b, nbdExportName)
	b = binary.BigEndian.AppendUint32(b, uint32(len(export)))
	if _, err := d.conn.Write(append(b, export...)); err != nil {
		return err
	}
	_, err := io.ReadFull(d.conn, make([]byte, 10)) // its size and flags
	return err
}

func (d *nbdDisk) write(p []byte, off int64) error { return d.do(nbdWrite, p, off) }
func (d *nbdDisk) flush() error                    { return d.do(nbdFlush, nil, 0) }

// ReadAt implements io.ReaderAt, but for one reader at a time.
func (d *nbdDisk) ReadAt(p []byte, off int64) (int, error) {
	if err := d.do(nbdRead, p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *nbdDisk) do(what uint16, p []byte, off int64) error {
	d.cookie++
	b := binary.BigEndian.AppendUint32(nil, nbdRequest)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, what)
	b = binary.BigEndian.AppendUint64(b, d.cookie)
	b = binary.BigEndian.AppendUint64(b, uint64(off))
	b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
	if what != nbdRead {
		b = append(b, p...)
	}
	if _, err := d.conn.Write(b); err != nil {
		return err
	}
	var said struct {
		Magic, Error uint32
		Cookie       uint64
	}
	if err := binary.Read(d.conn, binary.BigEndian, &said); err != nil {
		return err
	}
	if said.Magic != nbdReply || said.Error != 0 || said.Cookie != d.cookie {
		return fmt.Errorf("nbd: request %d at %d was answered by %+v", what, off, said)
	}
	if what == nbdRead {
		_, err := io.ReadFull(d.conn, p)
		return err
	}
	return nil
}
