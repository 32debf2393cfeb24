// Package importbench compares airgap's import of images with `ctr image import` of the
// same bytes. Both unpack, and both are timed until a final syncfs has returned.
//
//	go test -run '^$' -bench Import -benchtime 1x -timeout 1h ./test/bench/import
//
// It needs root. A set of 12 images that share layers (1.4 GB compressed, 3.9 GB unpacked, 120,000
// files from the machine's own /usr and GOROOT, as large on the mean as those of images are) is made once under
// AIRGAP_BENCH_DIR (default: the temporary folder), as an OCI layout in a tar. Each side then
// imports it three times (AIRGAP_BENCH_RUNS), in turn, into a disk that is fresh each time: ext4 with a
// journal, in a file, on a loop device. The tar is in the page cache. The medians are reported: seconds, seconds of processor,
// bytes that reached the disk, peak memory. After each of ours a real containerd opens the
// result and must find every image complete and unpacked.
//
// It needs 10 GB of disk. containerd and ctr come from
// AIRGAP_BENCH_BIN, or are built from this module's own version. AIRGAP_BENCH_ALONE leaves ctr
// out; AIRGAP_BENCH_LAYER_MIB makes a smaller set, with layers of so many MiB unpacked instead of 88;
// AIRGAP_BENCH_PROFILE names a file for airgap's CPU profile.
package importbench
