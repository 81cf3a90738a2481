package report

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	pages "github.com/aetherplatform/aether/internal/page"
	"github.com/aetherplatform/aether/internal/review"
)

// elements that the page has; attributes are those of page.html.
var elements = []string{"html", "head", "meta", "title", "style", "body", "header", "p", "h1", "ul", "li", "b", "main", "form", "input",
	"select", "option", "button", "output", "section", "h2", "article", "span", "div", "h3", "code", "details", "summary", "mark", "pre",
	"footer", "dl", "dt", "dd", "script"}

var attributes = []string{"lang", "charset", "http-equiv", "content", "name", "class", "role", "hidden", "type", "id", "placeholder",
	"aria-label", "aria-live", "aria-hidden", "autocomplete", "spellcheck", "value", "data-section", "data-item", "data-box",
	"data-action", "data-risk", "open", "tabindex"}

func TestTextsOfTheRepositoryAreInertInHTML(t *testing.T) {
	for _, s := range hostile {
		inertHTML(t, s)
	}
}

func FuzzTextsOfTheRepositoryAreInertInHTML(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(inertHTML)
}

func inertHTML(t *testing.T, s string) {
	t.Helper()
	out := written(t, HTML, poisoned(s))
	counts := map[string]int{}
	z := html.NewTokenizer(bytes.NewReader(out))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		if kind == html.CommentToken {
			t.Errorf("%q: a comment %q", s, z.Raw())
		}
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		token := z.Token()
		counts[token.Data]++
		if !slices.Contains(elements, token.Data) {
			t.Errorf("%q: element %s", s, token)
		}
		for _, a := range token.Attr {
			if !slices.Contains(attributes, a.Key) {
				t.Errorf("%q: attribute %s of %s", s, a.Key, token)
			}
		}
	}
	for _, once := range []string{"script", "style", "title", "h1", "form", "footer"} {
		if counts[once] != 1 {
			t.Errorf("%q: %d elements %s", s, counts[once], once)
		}
	}
}

func TestThePageForbidsItselfEverythingButItsOwnStyleAndScript(t *testing.T) {
	out := string(written(t, HTML, sample()))
	policy := regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(out)
	if policy == nil {
		t.Fatal("the page has no policy")
	}
	got := html.UnescapeString(policy[1])
	want := pages.Policy(style, pageScript)
	if got != want {
		t.Errorf("policy %s, want %s", got, want)
	}
	for _, asset := range []string{"<style>" + style + "</style>", "<script>" + pageScript + "</script>"} {
		if !strings.Contains(out, asset) {
			t.Errorf("what is hashed is not what the page has: %.40s", asset)
		}
	}
}

func TestTenThousandObjectsMakeAPageABrowserCanHold(t *testing.T) {
	out := written(t, HTML, large(10_000))
	if n := bytes.Count(out, []byte(" data-item ")); n < 10_000 {
		t.Errorf("%d objects are on the page", n)
	}
	if len(out) > 30<<20 {
		t.Errorf("the page has %d MiB", len(out)>>20)
	}
	r := large(100)
	long := strings.Repeat("x", 1<<20)
	for i := range r.Changes {
		r.Changes[i].Fields[0].New = long
		r.Changes[i].Unchanged = map[string]any{"data": long}
	}
	if out := written(t, HTML, r); len(out) > 1<<20 { // of 200 MiB
		t.Errorf("long values make a page of %d bytes", len(out))
	}
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no chromium in PATH: it opens the page (Debian: make browser)")
	return ""
}

func browse(t *testing.T, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	arguments = append([]string{"--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir=" + t.TempDir()}, arguments...)
	if os.Geteuid() == 0 {
		arguments = append([]string{"--no-sandbox"}, arguments...)
	}
	cmd := exec.CommandContext(ctx, chromium(t), arguments...)
	cmd.WaitDelay = 5 * time.Second
	var failure bytes.Buffer
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot open the page: %v\n%s", err, failure.String())
	}
	return string(out)
}

func pageFile(t *testing.T, r *review.Report) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, written(t, HTML, r), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + file
}

// visibleItems are what a browser shows after the filter of the address.
func visibleItems(t *testing.T, dom string) (names []string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(dom))
	if err != nil {
		t.Fatal(err)
	}
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		isItem := false
		for _, a := range n.Attr {
			if a.Key == "hidden" {
				return
			}
			isItem = isItem || a.Key == "data-item"
		}
		if isItem {
			names = append(names, nameOf(n))
			return
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(root)
	return names
}

// nameOf is the text of the first b or h3.
func nameOf(n *html.Node) string {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && (d.Data == "b" || d.Data == "h3") && d.FirstChild != nil {
			return d.FirstChild.Data
		}
	}
	return ""
}

func TestTheFilterShowsWhatMatches(t *testing.T) {
	chromium(t)
	address := pageFile(t, sample())
	tests := map[string]struct{ hash, want string }{
		"by text, of every word":    {"q=CIDR+egress", "egress"},
		"by the namespace around":   {"q=globex-shop", "allow-dns,allow-dns"},
		"by action":                 {"action=deleted", "globex-billing"},
		"by risk":                   {"risk=medium", "Namespace globex-billing is cordoned, and deleted after 168h,globex-billing"},
		"by all of them":            {"q=quota&action=changed&risk=high", "budget"},
		"by what is nowhere":        {"q=nowhere-at-all", ""},
		"by markup, which is texts": {"q=%3Cb%3E", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dom := browse(t, "--dump-dom", address+"#"+tt.hash)
			if got := strings.Join(visibleItems(t, dom), ","); got != tt.want {
				t.Errorf("shown: %q, want %q", got, tt.want)
			}
			if strings.Contains(dom, `role="search" hidden`) {
				t.Error("the script did not run")
			}
		})
	}
}

// The page is whole where scripts are off: everything is there, and no filter.
func TestThePageWorksWithoutItsScript(t *testing.T) {
	out := string(written(t, HTML, sample()))
	if !strings.Contains(out, `<form class="filter" role="search" hidden>`) {
		t.Error("a filter that does nothing is shown")
	}
	if n := len(visibleItems(t, out)); n < 5+2+2+2+1+9 {
		t.Errorf("only %d items are shown", n)
	}
}

func TestThePageMakesNoRequestWhateverIsInIt(t *testing.T) {
	chromium(t)
	var mu sync.Mutex
	var asked []string
	var report []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write(report)
	}))
	defer server.Close()
	for _, s := range []string{
		"<img src=" + server.URL + "/img>", "<script src=" + server.URL + "/script></script>", "url(" + server.URL + "/css)",
		"</style><link rel=stylesheet href=" + server.URL + "/link>", "<iframe src=" + server.URL + "/frame></iframe>",
		"<meta http-equiv=refresh content='0;url=" + server.URL + "/refresh'>",
	} {
		asked, report = nil, written(t, HTML, poisoned(s))
		browse(t, "--dump-dom", server.URL+"/report")
		if got := strings.Join(asked, " "); got != "/report" {
			t.Errorf("%s: the browser asked for %s", s, got)
		}
	}

	// The policy holds even if something did become markup.
	asked = nil
	report = bytes.Replace(written(t, HTML, sample()), []byte("</main>"), []byte(
		`<img src=/img><script src=/script></script><script>document.body.id="run"</script><link rel=stylesheet href=/link><iframe src=/frame></iframe></main>`), 1)
	dom := browse(t, "--dump-dom", server.URL+"/report")
	if got := strings.Join(asked, " "); got != "/report" {
		t.Errorf("the policy lets the browser ask for %s", got)
	}
	if strings.Contains(dom, `<body id="run"`) {
		t.Error("the policy lets a foreign script run")
	}
}

func TestTenThousandObjectsAreFilteredInABrowser(t *testing.T) {
	chromium(t)
	dom := browse(t, "--dump-dom", pageFile(t, large(10_000))+"#q=level-9999")
	if got := strings.Join(visibleItems(t, dom), ","); got != "settings-9999" {
		t.Errorf("shown: %q", got)
	}
}
