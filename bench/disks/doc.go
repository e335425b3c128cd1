// Package disks measures package blockio and the disk commands of failback beside fio, qemu-img and cat, each pair in turn, in one run.
//
//	go run ./bench [--quick] [--dir DIR] [--size SIZE] [--repeats N] [--depth N] [--only REGEXP] disks|disks/fio|disks/convert|disks/read
//
// fio: reads and writes of a flat VMDK and of a loop device (as root), 1 MiB in sequence and 4 KiB at random, directly and through the page cache. fio is given the same pattern, alignment,
// depth (that many threads with pread and pwrite) and directness; each thread that writes calls fdatasync after
// each quarter of its work but the last. Both overwrite what is there. Through the page cache both find all of the disk in it: it is read before each turn, and a device is kept open by the
// harness, since the kernel drops the cache of one that nobody has open any more.
//
// convert: an ext4 image of real files into a new monolithicSparse VMDK, by failback disk create and write, and by qemu-img convert -O vmdk; with and without
// an fdatasync of the result. Both results are compared with the image.
//
// read: a flat VMDK to a pipe beside cat of its data file (qemu-img can't write to a pipe), and to a file beside qemu-img dd.
//
// A ratio above 1 means that ours is quicker. It is the median of the ratios of the pairs; the spread is that of the lowest and the highest one. On a machine that does other things as
// well, a spread of 0.5 to 2 means that the figure says little.
package disks
