package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	api "github.com/aetherplatform/aether/internal/local/gitea"
)

// The fleet's repository on the forge, and who has a part in it.
const (
	forgeOrg   = "platform"
	fleetName  = "fleet"
	forgeAdmin = "platform-admin"
	fluxUser   = "flux"          // reads the repository
	reviewUser = "aether-review" // comments on pull requests, and sets their status
)

// Files below Options.Dir/pki with what the forge and its clients share.
const (
	adminLogin  = "forge-admin.json"
	fluxToken   = "forge-flux-token" //nolint:gosec // a file's name
	reviewToken = "forge-review-token"
	hookSecret  = "hook-secret"
)

// login is a user of the forge who signs in.
type login struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

func (p *Platform) forgeURL() string    { return "http://" + loopback(p.Ports.Git) }
func (p *Platform) receiverURL() string { return "http://" + loopback(p.Ports.Review) }

// PushURL is the fleet's repository.
func (p *Platform) PushURL() string { return p.forgeURL() + "/" + forgeOrg + "/" + fleetName + ".git" }

// forge starts Gitea, and makes the fleet's repository, and what reviews the pull
// requests in it unless that is a Pod. It needs nothing of Kubernetes, so it tells of no
// steps: it runs beside those of the control plane.
func (p *Platform) forge(ctx context.Context) error {
	if err := p.gitea(ctx); err != nil {
		return err
	}
	if err := p.repository(ctx); err != nil {
		return err
	}
	if p.Chart {
		return nil
	}
	reviewer, err := p.reviewer()
	if err != nil {
		return err
	}
	if err := p.launch(ctx, reviewer); err != nil {
		return err
	}
	return p.openSample(ctx)
}

// gitea starts Gitea, which makes its database itself, and makes its first user.
func (p *Platform) gitea(ctx context.Context) error {
	dir := p.file("forge")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text, err := p.giteaConfig(dir)
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "app.ini")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	process := p.newProcess("gitea", p.bin(gitea), p.Ports.Git, p.forgeURL()+"/api/healthz", "--config", config, "web")
	process.What = "the forge"
	if err := p.launch(ctx, process); err != nil {
		return err
	}
	return p.administrator(ctx, process, config)
}

var madePassword = regexp.MustCompile(`generated random password is '([^'\n]+)'`)

// administrator makes the first user. Gitea thinks the password up: given to it, it
// would be on a command line, which everyone on the machine can read.
func (p *Platform) administrator(ctx context.Context, process *Process, config string) error {
	cmd := exec.CommandContext(ctx, process.Path, "--config", config, "admin", "user", "create", "--admin",
		"--username", forgeAdmin, "--email", forgeAdmin+"@localhost.localdomain",
		"--random-password", "--random-password-length", "32", "--must-change-password=false")
	cmd.Env = process.environment()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	found := madePassword.FindSubmatch(out)
	switch {
	case err != nil:
		return process.failed(fmt.Errorf("cannot make its administrator: %w: %s", err, madePassword.ReplaceAll(out, []byte("(password)"))))
	case found == nil:
		return process.failed(errors.New("cannot make its administrator: it does not say which password it has"))
	}
	admin := login{Name: forgeAdmin, Password: string(found[1])}
	data, err := json.Marshal(admin) //nolint:gosec // to a file that only its owner reads
	if err != nil {
		return err
	}
	address := strings.Replace(p.forgeURL(), "://", "://"+url.UserPassword(admin.Name, admin.Password).String()+"@", 1)
	return errors.Join(p.writeSecret(adminLogin, data), os.WriteFile(p.Credentials(), []byte(address+"\n"), 0o600))
}

// Admin calls the forge as its administrator.
func (p *Platform) Admin() (*api.Client, error) {
	var admin login
	data, err := os.ReadFile(filepath.Join(p.file(pkiDir), adminLogin))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &admin); err != nil {
		return nil, err
	}
	return &api.Client{URL: p.forgeURL(), Name: admin.Name, Password: admin.Password}, nil
}

func (p *Platform) writeSecret(name string, data []byte) error {
	return os.WriteFile(filepath.Join(p.file(pkiDir), name), data, 0o600)
}

func (p *Platform) readSecret(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(p.file(pkiDir), name))
	return string(data), err
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
		"Static":   p.bin(giteaStatic),
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
STATIC_ROOT_PATH = {{.Static}}
APP_DATA_PATH = {{.Dir}}/data
DISABLE_SSH = true
START_SSH_SERVER = false
OFFLINE_MODE = true
LFS_START_SERVER = false

[database]
DB_TYPE = sqlite3
PATH = {{.Dir}}/gitea.db
SQLITE_JOURNAL_MODE = WAL
SQLITE_TIMEOUT = 10000

[repository]
ROOT = {{.Dir}}/repositories
DEFAULT_BRANCH = main

[security]
INSTALL_LOCK = true
SECRET_KEY = {{.Secret}}
INTERNAL_TOKEN = {{.Internal}}
; Passwords are random here, so that guessing them needs no slowing down.
PASSWORD_HASH_ALGO = pbkdf2$1000$50

[oauth2]
ENABLED = false
JWT_SECRET = {{.JWT}}

[service]
DISABLE_REGISTRATION = true
REQUIRE_SIGNIN_VIEW = true

[webhook]
ALLOWED_HOST_LIST = loopback
DELIVER_TIMEOUT = 5

[i18n]
LANGS = en-US
NAMES = English

[packages]
ENABLED = false

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
