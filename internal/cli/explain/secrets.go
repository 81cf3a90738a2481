package explain

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/secret"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// Secret is a Secret that is kept equal to OpenBao's: all of it but what it holds.
type Secret struct {
	Name string `json:"name"`
	// From is the whole path in OpenBao; Pinned, the version that is asked for.
	From   string `json:"from"`
	Pinned int64  `json:"pinned,omitempty"`
	// Version that the Secret holds, when it was written in OpenBao, and when the
	// Secret was; 0 and empty where it holds nothing yet.
	Version     int64  `json:"version,omitempty"`
	VersionTime string `json:"versionTime,omitempty"`
	SyncedTime  string `json:"syncedTime,omitempty"`
	// NextRefresh is when OpenBao is asked again for one that is synced. For one that is
	// retrying it is asked before long; for others a person has to act.
	NextRefresh string `json:"nextRefresh,omitempty"`
	Retrying    bool   `json:"retrying,omitempty"`
	Synced      bool   `json:"synced"`
	Reason      string `json:"reason,omitempty"`
	Message     string `json:"message"`
	// AskedFor is spec.secrets[i], or the SecretSync that the team made.
	AskedFor string `json:"askedFor"`
}

// secrets are those of spec.secrets, in its order, and then the team's own.
func secrets(f *facts, now time.Time) []Secret {
	var list []Secret
	left := slices.Clone(f.secrets)
	for i, entry := range f.namespace.Spec.Secrets {
		at := slices.IndexFunc(left, func(s v1alpha1.SecretSync) bool { return s.Name == entry.Name })
		if at < 0 {
			if len(f.namespace.Spec.Clusters) > 0 {
				continue // it is in another cluster, as a note says
			}
			s := v1alpha1.SecretSync{ObjectMeta: metav1.ObjectMeta{Name: entry.Name}, Spec: v1alpha1.SecretSyncSpec{SecretSource: entry.SecretSource}}
			one := f.secret(&s, now)
			one.Message, one.Retrying = "there is no SecretSync for it yet", false
			one.AskedFor = fmt.Sprintf("secrets[%d]", i)
			list = append(list, one)
			continue
		}
		one := f.secret(&left[at], now)
		one.AskedFor = fmt.Sprintf("secrets[%d]", i)
		list = append(list, one)
		left = slices.Delete(left, at, at+1)
	}
	for i := range left {
		list = append(list, f.secret(&left[i], now))
	}
	return list
}

func (f *facts) secret(s *v1alpha1.SecretSync, now time.Time) Secret {
	ready := cli.ReadyOf(s.Status.Conditions)
	one := Secret{
		Name: s.SecretName(), From: s.Status.Source, Version: s.Status.Version,
		VersionTime: stamp(s.Status.VersionTime), SyncedTime: stamp(s.Status.SyncedTime),
		Synced: ready.True(), Reason: ready.Reason, Message: ready.Message, AskedFor: "SecretSync " + s.Name,
	}
	if one.From == "" && f.tenant != nil {
		one.From = tenancy.PlaceOf(f.tenant).Below(s.Spec.Path)
	}
	if v := s.Spec.Version; v != nil {
		one.Pinned = *v
	}
	one.Retrying = !ready.True() && !ready.Stalled
	if ready.True() {
		one.NextRefresh = secret.NextRefresh(s.UID, secret.RefreshInterval(&s.Spec.SecretSource), now).UTC().Format(time.RFC3339)
	}
	return one
}

func stamp(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (o *Options) printSecrets(r *Report) {
	if len(r.Secrets) == 0 {
		return
	}
	fmt.Fprintln(o.Out)
	t := cli.NewTable("SECRET", "FROM IN OPENBAO", "VERSION", "AGE", "SYNCED", "NEXT", "ASKED FOR BY", "STATE")
	for _, s := range r.Secrets {
		version, next := "-", o.until(s.NextRefresh)
		if s.Retrying {
			next = "soon"
		}
		if s.Version > 0 {
			version = strconv.FormatInt(s.Version, 10)
		}
		switch {
		case s.Pinned > 0 && s.Pinned == s.Version:
			version += ", pinned"
		case s.Pinned > 0:
			version += fmt.Sprintf(", wanted %d", s.Pinned)
		}
		state := cli.Cell{Text: "synced", Style: cli.Good}
		if !s.Synced {
			state = cli.Cell{Text: s.Message, Style: cli.Bad}
			if s.Reason != "" {
				state.Text = s.Reason + ": " + s.Message
			}
		}
		t.Add(cli.Text(s.Name), cli.Text(orDash(s.From)), cli.Text(version), cli.Text(o.ago(s.VersionTime)), cli.Text(o.ago(s.SyncedTime)),
			cli.Text(next), cli.Text(s.AskedFor), state)
	}
	t.Print(o.Out, o.Color)
}

// ago and until tell a time of the report as a person counts it.

func (o *Options) ago(stamp string) string {
	t, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return "-"
	}
	return o.Age(t)
}

func (o *Options) until(stamp string) string {
	t, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return "-"
	}
	now := o.Now()
	return "in " + o.Age(now.Add(now.Sub(t)))
}
