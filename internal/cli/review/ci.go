package review

import (
	"cmp"
	"regexp"
	"strconv"

	"github.com/aetherplatform/aether/internal/forge"
)

// ciJob is what a CI job's environment says of its pull request.
type ciJob struct {
	kind       forge.Kind
	url        string
	repository string
	pr         int
	// link to the job.
	link string
}

var pullRef = regexp.MustCompile(`^refs/pull/([0-9]{1,9})/`)

// job reads the environment of Gitea Actions, GitHub Actions and GitLab CI.
func job(getenv func(string) string) ciJob {
	if getenv("GITLAB_CI") != "" {
		pr, _ := strconv.Atoi(getenv("CI_MERGE_REQUEST_IID"))
		return ciJob{
			kind: forge.GitLab, url: getenv("CI_SERVER_URL"), pr: pr, link: getenv("CI_JOB_URL"),
			// The pipeline of a fork runs in the fork; its merge request is elsewhere.
			repository: cmp.Or(getenv("CI_MERGE_REQUEST_PROJECT_PATH"), getenv("CI_PROJECT_PATH")),
		}
	}
	j := ciJob{}
	switch {
	case getenv("GITEA_ACTIONS") != "": // which sets GitHub's variables as well
		j.kind = forge.Gitea
	case getenv("GITHUB_ACTIONS") != "":
		j.kind = forge.GitHub
	default:
		return j
	}
	j.url = cmp.Or(getenv("GITEA_SERVER_URL"), getenv("GITHUB_SERVER_URL"))
	j.repository = cmp.Or(getenv("GITEA_REPOSITORY"), getenv("GITHUB_REPOSITORY"))
	if m := pullRef.FindStringSubmatch(cmp.Or(getenv("GITEA_REF"), getenv("GITHUB_REF"))); m != nil {
		j.pr, _ = strconv.Atoi(m[1])
	}
	if run := getenv("GITHUB_RUN_ID"); run != "" && j.kind == forge.GitHub {
		j.link = j.url + "/" + j.repository + "/actions/runs/" + run
	}
	return j
}
