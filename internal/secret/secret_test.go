package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// canary is what no error may hold.
const canary = "hunter2"

func source(change func(*v1alpha1.SecretSource)) *v1alpha1.SecretSource {
	s := &v1alpha1.SecretSource{Path: "payments/db"}
	change(s)
	return s
}

func TestASecretIsMadeOfWhatOpenBaoHas(t *testing.T) {
	data := map[string]any{"username": "app", "password": canary, "port": json.Number("5432"), "tls": true, "more": map[string]any{"a": []any{"b"}}, "blob": "AAEC/w=="}
	for name, c := range map[string]struct {
		why    string
		source *v1alpha1.SecretSource
		want   map[string]string
	}{
		"all of it": {
			"nothing else is said", source(func(*v1alpha1.SecretSource) {}),
			map[string]string{"username": "app", "password": canary, "port": "5432", "tls": "true", "more": `{"a":["b"]}`, "blob": "AAEC/w=="},
		},
		"renamed": {
			"keys says what is wanted", source(func(s *v1alpha1.SecretSource) { s.Keys = map[string]string{"PGPASSWORD": "password"} }),
			map[string]string{"PGPASSWORD": canary},
		},
		"a DSN": {
			"a template joins values", source(func(s *v1alpha1.SecretSource) {
				s.Keys = map[string]string{"user": "username"}
				s.Template = map[string]v1alpha1.SecretTemplate{"DSN": "postgres://${data.username}:${data.password}@db:${data.port}/app?x=$${y}"}
			}),
			map[string]string{"user": "app", "DSN": "postgres://app:hunter2@db:5432/app?x=${y}"},
		},
		"a registry's login": {
			"Kubernetes wants JSON with base64 in it", source(func(s *v1alpha1.SecretSource) {
				s.Type = "kubernetes.io/dockerconfigjson"
				s.Template = map[string]v1alpha1.SecretTemplate{".dockerconfigjson": `{"auths":{"registry.example.com":{"auth":"${base64.encode(bytes(data.username + ":" + data.password))}"}}}`}
			}),
			map[string]string{".dockerconfigjson": `{"auths":{"registry.example.com":{"auth":"YXBwOmh1bnRlcjI="}}}`},
		},
		"bytes": {
			"OpenBao keeps them in base64", source(func(s *v1alpha1.SecretSource) {
				s.Template = map[string]v1alpha1.SecretTemplate{"keystore": "${base64.decode(data.blob)}"}
			}),
			map[string]string{"keystore": "\x00\x01\x02\xff"},
		},
		"what may not be there": {
			"has() asks first", source(func(s *v1alpha1.SecretSource) {
				s.Template = map[string]v1alpha1.SecretTemplate{"x": `${has(data.none) ? data.none : "default"}`}
			}),
			map[string]string{"x": "default"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Compile("spec", c.source)
			if err != nil {
				t.Fatal(err)
			}
			made, err := r.Make(data)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for k, v := range made {
				got[k] = string(v)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
		})
	}
}

func TestATemplateNamesDataAndNothingElse(t *testing.T) {
	for text, want := range map[string]string{
		"${env.HOME}":           "there are data",
		"${secrets.other}":      "there are data",
		"${tenant.name}":        "there are data",
		"${data.a":              "the expression is not closed",
		"${}":                   "there is no expression",
		"${data}":               "is no text; turn it into a string",
		"${readFile('/etc/x')}": "undeclared reference to 'readFile'",
		"${data.a.b}":           "",
	} {
		_, err := Compile("spec", source(func(s *v1alpha1.SecretSource) {
			s.Template = map[string]v1alpha1.SecretTemplate{"DSN": v1alpha1.SecretTemplate(text)}
		}))
		if err == nil || !strings.HasPrefix(err.Error(), "spec.template[DSN]: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestAnErrorNamesWhatIsWrongAndHoldsNoValue(t *testing.T) {
	data := map[string]any{"password": canary, "big": strings.Repeat(canary, 200_000), "odd": "{" + canary}
	odd := map[string]any{"password": canary, "a key/" + canary: "x"}
	templated := func(kind, text string) *v1alpha1.SecretSource {
		return source(func(s *v1alpha1.SecretSource) {
			s.Type = kind
			s.Template = map[string]v1alpha1.SecretTemplate{"x": v1alpha1.SecretTemplate(text)}
		})
	}
	keyed := func(kind string, pairs map[string]string) *v1alpha1.SecretSource {
		return source(func(s *v1alpha1.SecretSource) { s.Type, s.Keys = kind, pairs })
	}
	for name, c := range map[string]struct {
		source       *v1alpha1.SecretSource
		data         map[string]any
		reason, want string
	}{
		"a key that is not there":        {keyed("", map[string]string{"x": "none"}), data, v1alpha1.ReasonKeyNotFound, `keys[x]: the secret in OpenBao has no key "none"`},
		"one in a template":              {templated("", "a${data.none}"), data, v1alpha1.ReasonKeyNotFound, `template[x]: the secret in OpenBao has no key "none"`},
		"a value as a key":               {templated("", "${data[data.password]}"), data, v1alpha1.ReasonInvalidSecret, "template[x]: ${data[data.password]} fails on what OpenBao has; what CEL says of it is not shown, since it may hold a value"},
		"a value as a number":            {templated("", "${int(data.password)}"), data, v1alpha1.ReasonInvalidSecret, "${int(data.password)} fails on what OpenBao has"},
		"a key that no Secret has":       {source(func(*v1alpha1.SecretSource) {}), odd, v1alpha1.ReasonInvalidSecret, "has a key that no Secret can have"},
		"too much":                       {source(func(*v1alpha1.SecretSource) {}), data, v1alpha1.ReasonInvalidSecret, "a Secret holds at most 1048576"},
		"a TLS Secret without a key":     {keyed("kubernetes.io/tls", map[string]string{"tls.crt": "password"}), data, v1alpha1.ReasonInvalidSecret, "a Secret of type kubernetes.io/tls has a key tls.key"},
		"a registry's login, no JSON":    {keyed("kubernetes.io/dockerconfigjson", map[string]string{".dockerconfigjson": "odd"}), data, v1alpha1.ReasonInvalidSecret, "holds JSON in .dockerconfigjson, and this is none"},
		"a login without a name or word": {keyed("kubernetes.io/basic-auth", map[string]string{"x": "password"}), data, v1alpha1.ReasonInvalidSecret, "has a key username or password"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Compile("spec", c.source)
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Make(c.data)
			var why *Error
			if !errors.As(err, &why) || why.Reason != c.reason || !strings.Contains(why.Message, c.want) {
				t.Errorf("%v, want %s: %s", err, c.reason, c.want)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), canary) {
				t.Errorf("it holds a value: %v", err)
			}
		})
	}
}

// What a team writes must not take the memory of the one process that serves all teams.
func TestATemplateIsBoundedBeforeItIsFilledIn(t *testing.T) {
	data := map[string]any{"mib": strings.Repeat(canary[:1], 1<<20), "k64": strings.Repeat(canary[:1], 1<<16)}
	for name, c := range map[string]struct{ text, want string }{
		"the same over and over": {strings.Repeat("${data.mib}", 700), "template[K]: the Secret would hold more than the 1048576 bytes that one can; take less of what OpenBao has"},
		"each letter by a text":  {`${data.k64.replace("h", data.k64)}`, "fails on what OpenBao has"},
		"the same without types": {`${dyn(data.k64).replace("h", dyn(data.k64))}`, "fails on what OpenBao has"},
		"each ten times, ten times over": {
			`${"h"` + strings.Repeat(`.replace("h", "hhhhhhhhhh")`, 10) + "}", "fails on what OpenBao has",
		},
		"a list of texts":        {`${data.k64.split("").join(data.k64)}`, "fails on what OpenBao has"},
		"a list of one text":     {"${[" + strings.Repeat("data.mib,", 700) + "].join()}", "fails on what OpenBao has"},
		"a loop":                 {`${[1].map(i, data.mib).join()}`, "undeclared reference to 'map'"},
		"a loop over many":       {`${string(lists.range(1000000).size())}`, "undeclared reference to 'lists'"},
		"a list that doubles":    {`${string([[1]].map(a, a + a).map(a, a + a).size())}`, "undeclared reference to 'map'"},
		"text by a format":       {`${"%s%s".format([data.mib, data.mib])}`, "format is not there; write the parts beside each other"},
		"what is not there":      {`${dyn(1).replace("h", "h")}`, "fails on what OpenBao has"},
		"a join of what is none": {`${dyn([1]).join("h")}`, "fails on what OpenBao has"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := Compile("spec", source(func(s *v1alpha1.SecretSource) {
				s.Template = map[string]v1alpha1.SecretTemplate{"K": v1alpha1.SecretTemplate(c.text)}
			}))
			if err == nil {
				_, err = r.Make(data)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.300v, want %s", err, c.want)
			}
			runtime.ReadMemStats(&after)
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 100 {
				t.Errorf("it took %d MiB", took)
			}
		})
	}
}

func TestATemplateReplacesAndJoins(t *testing.T) {
	data := map[string]any{"hosts": "a;b;;c", "n": ""}
	for text, want := range map[string]string{
		`${data.hosts.replace(";", ",")}`:             "a,b,,c",
		`${data.hosts.replace(";", ",", 1)}`:          "a,b;;c",
		`${data.hosts.replace(";", ",", -1)}`:         "a,b,,c",
		`${data.hosts.replace("", "-")}`:              "-a-;-b-;-;-c-",
		`${data.hosts.split(";").join(",")}`:          "a,b,,c",
		`${["", data.hosts].join(",")}`:               ",a;b;;c",
		`${data.hosts.split(";").join()}`:             "abc",
		`${has(data.none) ? data.none : data.hosts}`:  "a;b;;c",
		`${data.hosts.replace(";", data.n, 2)}`:       "ab;c",
		`${"c" in data.hosts.split(";") ? "y" : "n"}`: "y",
	} {
		r, err := Compile("spec", source(func(s *v1alpha1.SecretSource) {
			s.Template = map[string]v1alpha1.SecretTemplate{"K": v1alpha1.SecretTemplate(text)}
		}))
		if err != nil {
			t.Error(err)
			continue
		}
		made, err := r.Make(data)
		if err != nil || string(made["K"]) != want {
			t.Errorf("%s is %q, %v; want %q", text, made["K"], err, want)
		}
	}
}

func FuzzATemplateNeverTellsAValue(f *testing.F) {
	for _, seed := range []string{"${data.password}", "${int(data.password)}", "${data[data.password]}", "$${data.password}", "${timestamp(data.password)}", "${data.password.split('')[99]}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Compile("spec", source(func(s *v1alpha1.SecretSource) {
			s.Template = map[string]v1alpha1.SecretTemplate{"x": v1alpha1.SecretTemplate(text)}
		}))
		if err != nil || strings.Contains(text, canary) {
			return
		}
		if _, err := r.Make(map[string]any{"password": canary}); err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
