package cli

import (
	"cmp"

	"github.com/aetherplatform/aether/internal/forge"
)

// ForgeToken is the token for a forge, from the environment: what is on a command
// line, everyone on the machine can read.
func ForgeToken(kind forge.Kind, getenv func(string) string) string {
	if t := getenv("AETHER_FORGE_TOKEN"); t != "" {
		return t
	}
	switch kind {
	case forge.Gitea:
		return cmp.Or(getenv("GITEA_TOKEN"), getenv("GITHUB_TOKEN"))
	case forge.GitHub:
		return cmp.Or(getenv("GITHUB_TOKEN"), getenv("GH_TOKEN"))
	default:
		return getenv("GITLAB_TOKEN")
	}
}
