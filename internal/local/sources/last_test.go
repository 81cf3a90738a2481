package sources

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A large fleet, so that the archive has several chunks.
func manyFiles() map[string]string {
	files := map[string]string{}
	for i := range 100 {
		for j := range 3 {
			files[fmt.Sprintf("tenants/t%03d/ns/n%d.yaml", i, j)] = fmt.Sprintf("name: t%03d-n%d\n", i, j)
		}
	}
	return files
}

func TestAPushGivesTheArchiveThatNothingRememberedWould(t *testing.T) {
	w := newWorld(t)
	all := manyFiles()
	w.pushes(all)
	if _, err := w.reconciles(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		what   string
		change map[string]string
		gone   []string
	}{
		{"a file changes", map[string]string{"tenants/t050/ns/n1.yaml": "changed\n"}, nil},
		{"files come", map[string]string{"tenants/a.yaml": "first\n", "tenants/t050/a/b/c.yaml": "deeper\n", "zzz.yaml": "last\n"}, nil},
		{"files go", nil, []string{"tenants/t000/ns/n0.yaml", "tenants/t051/ns/n0.yaml", "tenants/t051/ns/n1.yaml", "tenants/t051/ns/n2.yaml"}},
		{"a file is ignored from now on", map[string]string{"tenants/t070/.sourceignore": "n1.yaml\n"}, nil},
	} {
		maps.Copy(all, step.change)
		for _, name := range step.gone {
			delete(all, name)
			if err := os.Remove(filepath.Join(w.checkout, name)); err != nil {
				t.Fatal(err)
			}
		}
		w.pushes(step.change)
		repo, err := w.reconciles()
		if err != nil {
			t.Fatal(err)
		}
		found := w.content(repo.Status.Artifact)
		maps.DeleteFunc(found, func(name, _ string) bool { return name[len(name)-1] == '/' })
		want := maps.Clone(all)
		if _, ignored := all["tenants/t070/.sourceignore"]; ignored {
			delete(want, "tenants/t070/ns/n1.yaml") // the pattern has no slash, so it is for folders below too
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", step.what, diff)
		}

		digest := repo.Status.Artifact.Digest
		w.lasts = nil
		if err := os.RemoveAll(filepath.Join(w.artifacts(), "gitrepository")); err != nil {
			t.Fatal(err)
		}
		if repo, err = w.reconciles(); err != nil {
			t.Fatal(err)
		}
		if got := repo.Status.Artifact.Digest; got != digest {
			t.Errorf("%s: the archive is %s, and %s when nothing is remembered", step.what, digest, got)
		}
	}
}

// What a push of one file costs, from the forge to the artifact.
func BenchmarkPushOf11000Files(b *testing.B) {
	w := newWorld(b)
	files := map[string]string{}
	for i := range 1000 {
		tenant := fmt.Sprintf("t%04d", i)
		files["tenants/"+tenant+"/tenant.yaml"] = "kind: Tenant\nmetadata: {name: " + tenant + "}\n"
		for j := range 10 {
			files[fmt.Sprintf("tenants/%s/namespaces/n%d.yaml", tenant, j)] = fmt.Sprintf("kind: TenantNamespace\nmetadata: {name: %s-n%d}\nspec:\n  tenant: %[1]s\n  size: small\n", tenant, j)
		}
	}
	w.pushes(files)
	if _, err := w.reconciles(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		w.pushes(map[string]string{"tenants/t0500/namespaces/n5.yaml": fmt.Sprintf("edition: %d\n", i)})
		b.StartTimer()
		if _, err := w.reconciles(); err != nil {
			b.Fatal(err)
		}
	}
}
