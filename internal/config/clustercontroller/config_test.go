package clustercontroller_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/config/clustercontroller"
	"github.com/aetherplatform/aether/internal/config/configtest"
)

const header = "apiVersion: config.aetherplatform.cloud/v1alpha1\nkind: ClusterControllerConfig\n"

func TestAFileChangesWhatItSaysAndNothingElse(t *testing.T) {
	got, places, err := clustercontroller.Load([]byte(header+"reach: port-forward\nimages: {etcd: \"registry.example.com:5000/etcd:3.6.16-0\"}\n"), "config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := places.Explain(got.Validate()); err != nil {
		t.Errorf("it has problems:\n%v", err)
	}
	want := clustercontroller.Default()
	want.Reach, want.Images.Etcd = clustercontroller.ReachPortForward, "registry.example.com:5000/etcd:3.6.16-0"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	configtest.PrintedIsRead(t, clustercontroller.Load, got)
}

func TestValuesThatCannotBeAreToldAllAtOnce(t *testing.T) {
	text := header + "namespace: a.b\nconcurrency: 0\nreach: x\nimages: {repository: \"\", etcd: a b, snapshot: \"x:\"}\nlog: {level: warn}\n"
	got, places, err := clustercontroller.Load([]byte(text), "config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	err = places.Explain(got.Validate())
	if err == nil {
		t.Fatal("it is let through")
	}
	want := []string{
		`config.yaml:3: namespace: "a.b" is no name of a Namespace; write one such as aether-system`,
		`config.yaml:4: concurrency: 0 is too small; use at least 1`,
		`config.yaml:5: reach: "x" is no way to an API server; use service or port-forward`,
		`config.yaml:6: images.repository: "" is no place of images; write one such as registry.example.com/kubernetes`,
		`config.yaml:6: images.etcd: "a b" is no image; write one such as registry.example.com/etcd:3.6.16-0`,
		`config.yaml:6: images.snapshot: "x:" is no image; write one such as registry.example.com/aether-etcd:v0.1.0`,
		`config.yaml:7: log.level: "warn" is not a level; use debug, info or error`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

// Whatever a file holds, it is read or refused in lines that can be read; and what is read
// is printed as a file of which the same is made.
func FuzzLoad(f *testing.F) {
	for _, seed := range append([]string{header, header + "images: {repository: 'é', etcd: null}", header + "reach: &r service\nnamespace: *r"}, configtest.Broken...) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { configtest.ReadOrRefused(t, clustercontroller.Load, data) })
}
