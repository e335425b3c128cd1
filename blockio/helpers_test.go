package blockio_test

import "fmt"

func extentText(sectors int64, file string, offset int64) string {
	return fmt.Sprintf("RW %d FLAT %q %d\n", sectors, file, offset)
}
