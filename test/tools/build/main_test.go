package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// atRoot runs a test in the root of the checkout, as the program is run.
func atRoot(t *testing.T) {
	t.Helper()
	t.Chdir(filepath.Join("..", "..", ".."))
}

func TestAMissingCompilerIsSaidBeforeTheFirstBuild(t *testing.T) {
	atRoot(t)
	// A compiler without the headers of C's library, as on a Debian with gcc alone.
	bare := filepath.Join(t.TempDir(), "bare")
	if err := os.WriteFile(bare, []byte("#!/bin/sh\necho '<stdin>:1:10: fatal error: stdlib.h: No such file or directory' >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	needs := tool{name: "never-built", folder: "gitea", module: gitea, cgo: true}
	tests := map[string]struct {
		why, cc string
		wanted  []tool
		says    []string
	}{
		"none":            {"the first build takes minutes", "no-such-compiler", []tool{needs}, []string{`never-built is built with a C compiler, and "no-such-compiler" is not on the PATH`, "apt-get install gcc libc6-dev"}},
		"without headers": {"on some systems they are another package", bare, []tool{needs}, []string{"does not compile", "apt-get install gcc libc6-dev", "stdlib.h: No such file"}},
		"nothing in C":    {"linters need none", "no-such-compiler", []tool{{name: "never-built", folder: "etcd", module: "go.etcd.io/etcd/server/v3"}}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CC", test.cc)
			err := prerequisites(t.Context(), test.wanted)
			if (err == nil) != (test.says == nil) {
				t.Fatalf("%s: got %v", test.why, err)
			}
			for _, says := range test.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%s: got %v, want %q", test.why, err, says)
				}
			}
		})
	}
}

func TestWhatAToolIsMadeOfDecidesWhetherItIsMadeAgain(t *testing.T) {
	atRoot(t)
	plain := tool{name: "x", folder: "gitea", module: gitea}
	_, stamp, err := plain.state()
	if err != nil {
		t.Fatal(err)
	}
	tagged, copies := plain, plain
	tagged.tags = "sqlite"
	copies.copies = []copied{{"etcd", "go.etcd.io/etcd/server/v3", "LICENSE", "."}}
	for why, other := range map[string]tool{"other tags": tagged, "files of another module": copies} {
		_, got, err := other.state()
		if err != nil {
			t.Fatal(err)
		}
		if got == stamp {
			t.Errorf("%s give the same stamp", why)
		}
	}
}

func TestAToolWithAMainOfOursIsMadeAgainWhenThatChanges(t *testing.T) {
	t.Chdir(t.TempDir())
	folder := filepath.Join("test", "tools", "ours", "stubs")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	put := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join("test", "tools", "ours", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("go.mod", "require example.com/core v1.0.0\n")
	put("go.sum", "")
	seen := map[string]string{}
	for _, file := range []string{"", "main.go", "stubs/stub.go"} {
		if file != "" {
			put(file, "package main\n")
		}
		_, stamp, err := tool{name: "ours", folder: "ours", module: "example.com/core"}.state()
		if err != nil {
			t.Fatal(err)
		}
		if before, again := seen[stamp]; again {
			t.Errorf("%q gives the same stamp as %q", file, before)
		}
		seen[stamp] = file
	}
}
