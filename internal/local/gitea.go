package local

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"text/template"
)

// gitea prepares Gitea's folder, database and administrator, and returns the
// process to start.
//
// A Gitea that was built without its assets needs AETHER_GITEA_STATIC, the folder
// of its sources; the released binaries hold them.
func (p *Platform) gitea(ctx context.Context, program string) (*Process, error) {
	dir := p.file("forge")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "app.ini")
	text, err := p.giteaConfig(dir)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	admin, err := p.login(adminLogin)
	if err != nil {
		return nil, err
	}
	log := filepath.Join(p.Dir, logsDir, "gitea.log")
	err = p.step("gitea's database", func() error {
		for _, args := range [][]string{
			{"migrate"},
			// The password is on a command line for an instant, where only this machine's
			// users could see it; Gitea has no other way to take it.
			{"admin", "user", "create", "--admin", "--must-change-password=false", "--username", admin.Name,
				"--password", admin.Password, "--email", admin.Name + "@localhost.localdomain"},
		} {
			out, err := exec.CommandContext(ctx, program, append([]string{"--config", config}, args...)...).CombinedOutput()
			if err != nil {
				_ = os.WriteFile(log, out, 0o600)
				return &ProcessError{Name: "gitea", Log: log, End: tail(log), Err: fmt.Errorf("`gitea %s`: %w", strings.Join(args[:1], " "), err)}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	process := p.newProcess("gitea", program, p.Ports.Git, p.forgeURL()+"/api/healthz", "--config", config, "web")
	process.What = "Gitea"
	return process, nil
}

// giteaConfig is Gitea's app.ini: private, on loopback, with SQLite, and with
// nothing that runs by itself or asks the network.
func (p *Platform) giteaConfig(dir string) (string, error) {
	who, err := user.Current()
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = giteaINI.Execute(&text, map[string]any{
		"Root": os.Getuid() == 0, "User": who.Username, "Dir": dir, "Port": p.Ports.Git, "URL": p.forgeURL(),
		"Static":   os.Getenv("AETHER_GITEA_STATIC"),
		"Secret":   newSecret() + newSecret(),
		"Internal": newSecret() + newSecret(),
		// 32 bytes in base64, as Gitea wants it: hexadecimal digits are base64's too.
		"JWT": (newSecret() + newSecret())[:43],
	})
	return text.String(), err
}

var giteaINI = template.Must(template.New("app.ini").Parse(`{{if .Root}}I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
{{end}}APP_NAME = Aether local platform
RUN_USER = {{.User}}
RUN_MODE = prod
WORK_PATH = {{.Dir}}

[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {{.Port}}
DOMAIN = 127.0.0.1
ROOT_URL = {{.URL}}/
{{if .Static}}STATIC_ROOT_PATH = {{.Static}}
{{end}}APP_DATA_PATH = {{.Dir}}/data
DISABLE_SSH = true
START_SSH_SERVER = false
OFFLINE_MODE = true
LFS_START_SERVER = false

[database]
DB_TYPE = sqlite3
PATH = {{.Dir}}/gitea.db
SQLITE_JOURNAL_MODE = WAL

[repository]
ROOT = {{.Dir}}/repositories
DEFAULT_BRANCH = main

[security]
INSTALL_LOCK = true
SECRET_KEY = {{.Secret}}
INTERNAL_TOKEN = {{.Internal}}
PASSWORD_HASH_ALGO = pbkdf2_v2

[oauth2]
JWT_SECRET = {{.JWT}}

[service]
DISABLE_REGISTRATION = true
REQUIRE_SIGNIN_VIEW = true

[webhook]
ALLOWED_HOST_LIST = loopback
DELIVER_TIMEOUT = 5

[actions]
ENABLED = false

[indexer]
ISSUE_INDEXER_TYPE = db
REPO_INDEXER_ENABLED = false

[queue]
TYPE = channel

[session]
PROVIDER = memory

[cache]
ADAPTER = memory

[cron.update_checker]
ENABLED = false

[mailer]
ENABLED = false

[log]
MODE = console
LEVEL = Info
`))
