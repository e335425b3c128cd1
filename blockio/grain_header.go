package blockio

import (
	"fmt"
	"io"
)

// readGrainHeader reads the header of an extent made of grains.
func readGrainHeader(kind pieceKind, r io.ReaderAt, name string, fileSize int64) (grainFormat, error) {
	switch kind {
	case pieceCOWD:
		b, err := readHead(r, name, cowdHeaderBytes)
		if err != nil {
			return nil, err
		}
		return decodeCOWDHeader(name, b, fileSize)
	case pieceSE:
		b, err := readHead(r, name, SectorSize)
		if err != nil {
			return nil, err
		}
		return decodeSESparseHeader(name, b, fileSize)
	}
	return readSparseHeader(r, name, fileSize)
}

// readSparseHeader reads the header of a hosted sparse or streamOptimized extent, and the footer, if that is the one that counts:
// where the header leaves the directory to it, and, in a file that ends like one with a footer, always.
func readSparseHeader(r io.ReaderAt, name string, fileSize int64) (sparseHeader, error) {
	b, err := readHead(r, name, sparseHeaderBytes)
	if err != nil {
		return sparseHeader{}, err
	}
	h, err := decodeSparseHeader(name, b, fileSize)
	if err != nil || !h.compressed() || fileSize < footerBytes {
		return h, err
	}
	tail := make([]byte, footerBytes)
	if _, err := r.ReadAt(tail, fileSize-footerBytes); err != nil {
		return h, fmt.Errorf("read footer of %s: %w", name, err)
	}
	if !h.atEnd && !hasFooter(tail) {
		return h, nil
	}
	return decodeFooter(name, h, tail, fileSize)
}

// readWrapped returns the descriptor of a file that has the header of a sparse extent and no room for grains, and where it is; nil for
// every other file.
func readWrapped(r io.ReaderAt, name string, fileSize int64) (descriptor []byte, at int64, err error) {
	head, err := readHead(r, name, sparseHeaderBytes)
	if err != nil {
		return nil, 0, err
	}
	at, n, ok := wrappedDescriptor(head, fileSize)
	if !ok {
		return nil, 0, nil
	}
	b := make([]byte, n)
	if _, err := r.ReadAt(b, at); err != nil {
		return nil, 0, fmt.Errorf("read descriptor of %s: %w", name, err)
	}
	return b, at, nil
}

// readSESparseVolatile tells whether a journal is to be replayed.
func readSESparseVolatile(r io.ReaderAt, name string, h seSparseHeader) (replay bool, err error) {
	b := make([]byte, SectorSize)
	at := h.volatile.start * SectorSize
	if _, err := r.ReadAt(b, at); err != nil {
		return false, fmt.Errorf("read volatile header of %s: %w", name, err)
	}
	return decodeSESparseVolatile(name, b, at)
}

// readHead reads the first n bytes, or as many as there are.
func readHead(r io.ReaderAt, name string, n int) ([]byte, error) {
	b := make([]byte, n)
	k, err := r.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read header of %s: %w", name, err)
	}
	return b[:k], nil
}
