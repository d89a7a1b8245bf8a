// What the Go package github.com/grandecola/mmap takes for one row of the benchmark: the seconds of one call, without
// those of the empty loop. Built and run by operations.py.
package main

import (
	"fmt"
	"math/rand"
	"os"
	"syscall"
	"time"

	"github.com/grandecola/mmap"
)

const (
	MiB  = 1 << 20
	prot = syscall.PROT_READ | syscall.PROT_WRITE
)

var sum uint64 // so that the compiler leaves the loops as they are

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func timed(rounds int, offsets []int64, call func(offset int64)) float64 {
	start := time.Now()
	for i := 0; i < rounds; i++ {
		for _, offset := range offsets {
			call(offset)
		}
	}
	return time.Since(start).Seconds() / float64(rounds*len(offsets))
}

func main() {
	row, path := os.Args[1], os.Args[2]
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(err)
	m, err := mmap.NewSharedFileMmap(file, 0, 128*MiB, prot)
	check(err)
	short, long := make([]byte, 64), make([]byte, MiB)
	for i := range long {
		long[i] = byte(i) // an untouched page is read from the one zero page of the kernel
	}
	near, far := make([]int64, 1000), make([]int64, 64)
	for i := range near {
		near[i] = rand.Int63n(MiB/8-8) * 8
	}
	for i := range far {
		far[i] = rand.Int63n(127 * MiB)
	}
	rounds, offsets := 10000, near
	var call func(offset int64)
	switch row {
	case "read uint64":
		call = func(offset int64) { sum += m.ReadUint64At(offset) }
	case "write uint64":
		call = func(offset int64) { m.WriteUint64At(5000000000, offset) }
	case "read 64 B":
		call = func(offset int64) { _, _ = m.ReadAt(short, offset) }
	case "write 64 B":
		call = func(offset int64) { _, _ = m.WriteAt(short, offset) }
	case "read 1 MiB":
		rounds, offsets = 8, far
		call = func(offset int64) { _, _ = m.ReadAt(long, offset) }
	case "write 1 MiB":
		rounds, offsets = 8, far
		call = func(offset int64) { _, _ = m.WriteAt(long, offset) }
	case "map and unmap":
		rounds = 2
		call = func(int64) {
			mapped, err := mmap.NewSharedFileMmap(file, 0, MiB, prot)
			check(err)
			check(mapped.Unmap())
		}
	}
	timed(rounds/10+1, offsets, call)
	empty := timed(rounds, offsets, func(offset int64) { sum += uint64(offset) })
	fmt.Println(timed(rounds, offsets, call) - empty)
}
