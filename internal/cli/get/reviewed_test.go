package get

import "testing"

func TestARepositoryIsFoundOnTheForgeThatWasNamedOnly(t *testing.T) {
	for name, test := range map[string]struct {
		why, forge, clone, want string
	}{
		"https":            {"as most clone", "https://git.example.com", "https://git.example.com/platform/fleet.git", "platform/fleet"},
		"without .git":     {"forges take both", "https://git.example.com/", "https://git.example.com/platform/fleet", "platform/fleet"},
		"ssh":              {"it has a port and a user of its own", "https://git.example.com", "ssh://git@git.example.com:2222/platform/fleet.git", "platform/fleet"},
		"groups":           {"GitLab has them in groups", "https://gitlab.com", "https://gitlab.com/a/b/fleet.git", "a/b/fleet"},
		"below a path":     {"a forge need not have a host to itself", "https://example.com/git", "https://example.com/git/platform/fleet.git", "platform/fleet"},
		"beside that path": {"it is not the forge's", "https://example.com/git", "https://example.com/gitea/platform/fleet.git", ""},
		"another host":     {"of it the forge knows nothing", "https://git.example.com", "https://git.example.org/platform/fleet.git", ""},
		"another port":     {"that may be another server", "https://git.example.com", "https://git.example.com:8443/platform/fleet.git", ""},
		"no path":          {"it names none", "https://git.example.com", "https://git.example.com/", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := repositoryAt(test.forge, test.clone); got != test.want || ok != (test.want != "") {
				t.Errorf("got %q, %t; want %q: %s", got, ok, test.want, test.why)
			}
		})
	}
}
