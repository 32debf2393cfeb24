package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"airgap/test/site"
)

// tabs has a shell without the package bash-completion complete each line of its input.
const tabs = `source <(airgap completion bash)
compopt() { :; } # it works in a completion alone
while IFS= read -r line; do
    read -ra COMP_WORDS <<<"$line"
    COMP_LINE=$line COMP_POINT=${#line} COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_TYPE=9 COMPREPLY=()
    __start_airgap
    echo "$line|${COMPREPLY[*]}"
done
complete -p kubectl
`

// testCompletion completes names of this cluster's objects, through airgap and through a link named kubectl.
func testCompletion(t *testing.T, s *node) {
	bin := t.TempDir()
	for link, target := range map[string]string{"airgap": site.Built("bin/airgap"), "kubectl": "airgap", "ctr": "airgap"} {
		if err := os.Symlink(target, filepath.Join(bin, link)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("nsenter", "--net=/run/netns/"+s.Namespace, "bash", "--norc", "-c", tabs)
	cmd.Env = append(os.Environ(), "AIRGAP_DATA_DIR="+s.Paths.DataDir, "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(strings.Join([]string{
		"airgap kubectl get servicea", "airgap kubectl get node no", "kubectl get node no", "airgap helm stat", "airgap ctr imag", "ctr imag",
	}, "\n") + "\n")
	out := site.MustOutput(t, cmd)
	for _, want := range []string{
		"airgap kubectl get servicea|serviceaccounts", "airgap kubectl get node no|node-1", "\nkubectl get node no|node-1",
		"airgap helm stat|status", "airgap ctr imag|images", "\nctr imag|images", "__start_airgap kubectl",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
