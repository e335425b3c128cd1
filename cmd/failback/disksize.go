package main

import (
	"fmt"
	"math/big"
	"strings"
)

// byteCount is a flag for a number of bytes as people write it.
type byteCount int64

func (b *byteCount) String() string { return fmt.Sprint(int64(*b)) }

func (b *byteCount) Type() string { return "SIZE" }

func (b *byteCount) Set(s string) error {
	n, err := parseBytes(s)
	*b = byteCount(n)
	return err
}

// parseBytes reads a number with a unit: 512, 64K, 1.5G, 10GiB. Units are powers of 1024, however they are spelt.
func parseBytes(s string) (int64, error) {
	number, power := strings.ToLower(strings.TrimSpace(s)), 0
	number = strings.TrimSuffix(number, "b")
	if rest := strings.TrimSuffix(number, "i"); strings.TrimRight(rest, "kmgtpe") != rest {
		number = rest
	}
	if len(number) > 0 {
		if i := strings.IndexByte("kmgtpe", number[len(number)-1]); i >= 0 {
			number, power = number[:len(number)-1], i+1
		}
	}
	number = strings.TrimSpace(number)
	r, ok := new(big.Rat).SetString(number)
	if !ok || len(number) > 30 || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a number of bytes such as 512, 64K, 1.5G or 2T", s)
	}
	r.Mul(r, new(big.Rat).SetInt64(1<<(10*power)))
	switch {
	case !r.IsInt():
		return 0, fmt.Errorf("%q is not a whole number of bytes", s)
	case !r.Num().IsInt64():
		return 0, fmt.Errorf("%q is more than can be", s)
	}
	return r.Num().Int64(), nil
}
