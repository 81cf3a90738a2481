package forge

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	mergeSHA = strings.Repeat("a", 40)
	otherSHA = strings.Repeat("e", 40)
)

type object = map[string]any

// past is what each forge answers of a pull request 7 that was merged as mergeSHA:
// the review of its head was pending, then ended.
func past(kind Kind) map[string]any {
	status := func(id int, context, state, description string) object {
		return object{"id": id, "context": context, "name": context, "status": state, "state": state, "description": description, "target_url": "https://r"}
	}
	switch kind {
	case GitHub:
		return map[string]any{
			"/commits/" + mergeSHA + "/pulls": []object{
				{"number": 6, "state": "closed", "merged_at": "2026-01-01T00:00:00Z", "merge_commit_sha": otherSHA},
				{"number": 7, "state": "closed", "merged_at": "2026-01-02T00:00:00Z", "merge_commit_sha": mergeSHA, "head": object{"sha": sha}, "html_url": "https://forge/7"},
			},
			"/commits/" + otherSHA + "/pulls": []object{{"number": 8, "state": "open", "merge_commit_sha": otherSHA}},
			"/commits/" + sha + "/status":     object{"statuses": []object{status(3, "ci", "failure", ""), status(2, Context, "success", "fine")}},
			"/commits/" + otherSHA + "/status": object{
				"statuses": []object{status(3, "ci", "failure", "")}},
			"/git/commits/" + mergeSHA: object{"tree": object{"sha": "t1"}},
			"/git/commits/" + sha:      object{"tree": object{"sha": "t1"}},
			"/git/commits/" + otherSHA: object{"tree": object{"sha": "t2"}},
		}
	case GitLab:
		at := "/repository/commits/"
		return map[string]any{
			at + mergeSHA + "/merge_requests": []object{
				{"iid": 6, "state": "merged", "merge_commit_sha": otherSHA, "sha": mergeSHA},
				{"iid": 7, "state": "merged", "merge_commit_sha": mergeSHA, "sha": sha, "web_url": "https://forge/7"},
			},
			at + otherSHA + "/merge_requests":                                        []object{{"iid": 8, "state": "opened", "sha": otherSHA}},
			at + sha + "/statuses":                                                   []object{status(1, Context, "pending", ""), status(2, Context, "success", "fine")},
			at + otherSHA + "/statuses":                                              []object{},
			"/repository/compare?from=" + mergeSHA + "&straight=true&to=" + sha:      object{"diffs": []object{}},
			"/repository/compare?from=" + mergeSHA + "&straight=true&to=" + otherSHA: object{"diffs": []object{{"new_path": "x"}}},
		}
	default:
		tree := func(sha string) object { return object{"commit": object{"tree": object{"sha": sha}}} }
		return map[string]any{
			"/commits/" + mergeSHA + "/pull": object{
				"number": 7, "state": "closed", "merged": true, "merge_commit_sha": mergeSHA, "html_url": "https://forge/7",
				"base": object{"ref": "main"}, "head": object{"ref": "topic", "sha": otherSHA}, // pushed to after the merge
			},
			"/git/refs/pull/7/head":              []object{{"ref": "refs/pull/7/head", "object": object{"sha": sha}}},
			"/commits/" + sha + "/statuses":      []object{status(2, Context, "success", "fine"), status(1, Context, "pending", ""), status(3, "ci", "failure", "")},
			"/commits/" + otherSHA + "/statuses": []object{},
			"/git/commits/" + mergeSHA:           tree("t1"),
			"/git/commits/" + sha:                tree("t1"),
			"/git/commits/" + otherSHA:           tree("t2"),
		}
	}
}

func TestACommitIsFollowedToTheReviewOfWhatWasMerged(t *testing.T) {
	each(t, func(t *testing.T, f *fake) {
		f.past = past(f.kind)
		forge := f.open()
		pr, err := forge.MergedAs(t.Context(), mergeSHA)
		if err != nil || pr == nil || pr.Number != 7 || pr.HeadSHA != sha || pr.State != Merged || pr.URL != "https://forge/7" {
			t.Fatalf("it was merged as %+v, %v; want #7 at %s", pr, err, sha)
		}
		status, err := forge.StatusOf(t.Context(), pr.HeadSHA)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&Status{State: Success, Description: "fine", Link: "https://r"}, status); diff != "" {
			t.Errorf("its newest status (-want +got)\n%s", diff)
		}
		if none, err := forge.StatusOf(t.Context(), otherSHA); none != nil || err != nil {
			t.Errorf("a commit without a status has %+v, %v", none, err)
		}
		if pr, err := forge.MergedAs(t.Context(), otherSHA); pr != nil || err != nil {
			t.Errorf("what was pushed, and is in a pull request that is open, was merged as %+v, %v", pr, err)
		}
		for other, want := range map[string]bool{sha: true, otherSHA: false} {
			if same, err := forge.SameFiles(t.Context(), mergeSHA, other); same != want || err != nil {
				t.Errorf("%s holds the same files: %t, %v; want %t", other, same, err, want)
			}
		}
		for _, request := range f.asked {
			if !strings.HasPrefix(request, http.MethodGet+" ") {
				t.Errorf("%s was asked for, where reading is all", request)
			}
		}
	})
}

func TestARepositoryThatIsNotShownIsNoDirectPush(t *testing.T) {
	each(t, func(t *testing.T, f *fake) {
		if pr, err := f.open().MergedAs(t.Context(), mergeSHA); !IsNotFound(err) {
			t.Errorf("it was merged as %+v, %v; want that the forge shows no such commit", pr, err)
		}
	})
}
