package vm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// emulation is what works everywhere.
const emulation = "tcg,thread=multi"

// accelerator is what QEMU is to run machines with: KVM where a machine really runs on it. The device may be there
// and accept processors without that: on a host that is itself a guest, a stock kernel may not run on it.
var accelerator = sync.OnceValue(func() string {
	if runs("kvm") {
		return "kvm"
	}
	return emulation
})

// runs starts the smallest machine there is, a boot sector that tells QEMU to exit with code 3.
func runs(accelerator string) bool {
	folder, err := os.MkdirTemp("", "airgap-vm-kvm-")
	if err != nil {
		return false
	}
	defer os.RemoveAll(folder)
	sector := make([]byte, 512)
	copy(sector, []byte{0xb0, 0x01, 0xe6, 0xf4, 0xf4}) // mov al, 1; out 0xf4, al; hlt
	sector[510], sector[511] = 0x55, 0xaa
	boot := filepath.Join(folder, "sector")
	if err := os.WriteFile(boot, sector, 0o600); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = exec.CommandContext(ctx, emulator64, "-accel", accelerator, "-cpu", "max", "-m", "64", "-nodefaults", "-display", "none",
		"-net", "none", "-device", "isa-debug-exit", "-drive", "format=raw,readonly=on,file="+boot).Run()
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == 3
}
