package main

import (
	"bytes"
	"testing"

	"github.com/aetherplatform/aether/internal/config/clustercontroller"
	"github.com/aetherplatform/aether/internal/program/programtest"
	"github.com/aetherplatform/aether/internal/version"
)

func TestEachFlagSetsItsField(t *testing.T) {
	programtest.EachFlagSetsItsField(t, clusterController(), map[string]string{
		"concurrency": "7", "reach": clustercontroller.ReachPortForward,
		"image-repository": "registry.example.com/kubernetes", "etcd-image": "registry.example.com/etcd:3.6.16-0",
	})
}

func TestTheReferenceHasEveryField(t *testing.T) { programtest.Reference(t, clusterController()) }

// Whatever else is asked for: nothing is started.
func TestVersionIsPrintedAsAetherPrintsIt(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := clusterController().Command([]string{"--version"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
	if got, want := stdout.String(), version.Get().Line("cluster-controller")+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatCannotRunIsToldOnStderrAndEndsWithTwo(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no way to an API server": {[]string{"--reach=tunnel"}, "--reach: \"tunnel\" is no way to an API server; use service or port-forward\n"},
		"no images":               {[]string{"--image-repository=Registry/X Y"}, "--image-repository: \"Registry/X Y\" is no place of images; write one such as registry.example.com/kubernetes\n"},
		"an argument":             {[]string{"run"}, "unexpected argument \"run\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := clusterController().Command(c.args, &stdout, &stderr); code != 2 || stdout.Len() > 0 || stderr.String() != c.want {
				t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, stdout.String(), stderr.String(), c.want)
			}
		})
	}
}
