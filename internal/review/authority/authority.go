// Package authority says who has to approve a change of a fleet: the platform
// team, for what only it may change, and the owners that CODEOWNERS names.
//
// Who decides is read from base alone. A CODEOWNERS that a change brings along
// gives nobody a right; it is shown as one more thing to approve.
package authority

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/files"
)

// Findings of this package.
const (
	// CodeOwnersInvalid: lines of CODEOWNERS, or a whole file, say nothing.
	CodeOwnersInvalid review.Category = "CodeOwnersInvalid"
	// CodeOwnersChanged: the change brings another CODEOWNERS, which does not hold yet.
	CodeOwnersChanged review.Category = "CodeOwnersChanged"
)

// tenantsDir is where the tenants of a fleet repository are.
const tenantsDir = "tenants"

// codeOwnersFiles are where forges look for CODEOWNERS, the first that is there wins.
var codeOwnersFiles = []string{"CODEOWNERS", ".github/CODEOWNERS", ".gitea/CODEOWNERS", gitlabFile, "docs/CODEOWNERS"}

// forgeFiles are where forges keep what runs on a pull request and who may merge it.
var forgeFiles = []string{".github", ".gitea", ".gitlab", ".forgejo", ".gitlab-ci.yml"}

// mostPaths bounds the approvals that name a single file. Of a larger change, a
// directory stands for its files.
const mostPaths = 500

// mostFaults bounds the lines of CODEOWNERS that are listed.
const mostFaults = 20

// Check fills report.Approvals, and adds findings on CODEOWNERS to report.Findings.
func Check(base, head *review.Side, report *review.Report) error {
	roots := slices.Concat([]string{base.Folder(tenantsDir), base.Folder("base"), base.Folder("policies")}, codeOwnersFiles, forgeFiles)
	changes, err := files.Changed(base.Files, head.Files, roots...)
	if err != nil {
		return fmt.Errorf("cannot compare the files of base and head: %w", err)
	}
	owners, findings, err := readCodeOwners(base)
	if err != nil {
		return err
	}
	if len(changes) > 0 {
		report.Findings = append(report.Findings, findings...)
	}

	limits := limitsChanged(base, head)
	var approvals []review.Approval
	for _, c := range changes {
		reasons := platformReasons(c.Path, base.Path)
		reasons = append(reasons, limits[c.Path]...)
		delete(limits, c.Path)
		approvals = append(approvals, approve(owners, c.Path, reasons)...)
		if slices.Contains(codeOwnersFiles, c.Path) {
			report.Findings = append(report.Findings, codeOwnersChanged(c))
		}
	}
	// The file that holds a Tenant need not be the one that changed it: a patch does.
	for file, reasons := range limits {
		approvals = append(approvals, approve(owners, file, reasons)...)
	}
	report.Approvals = append(report.Approvals, fold(approvals)...)
	return nil
}

// approve says who has to approve the change of one file.
func approve(owners *codeOwners, file string, reasons []string) []review.Approval {
	var all []review.Approval
	found := owners.owners(file)
	if len(reasons) > 0 {
		a := review.Approval{Path: file, Platform: true, Reason: strings.Join(reasons, "; ")}
		for _, o := range found {
			a.Owners = append(a.Owners, o.owners...)
		}
		slices.Sort(a.Owners)
		a.Owners = slices.Compact(a.Owners)
		return append(all, a)
	}
	for _, o := range found {
		reason := fmt.Sprintf("owned by line %d of %s", o.line, owners.file)
		if o.section != "" {
			reason += fmt.Sprintf(", section %q", o.section)
		}
		a := review.Approval{Path: file, Owners: slices.Clone(o.owners)}
		switch {
		case o.optional: // how many GitLab does not ask there
			reason += ", optional"
		case o.approvals > 1:
			a.Needed = o.approvals
			reason += fmt.Sprintf(", which needs %d approvals", o.approvals)
		}
		a.Reason = reason
		all = append(all, a)
	}
	return all
}

// platformReasons is why only the platform team may change a file whatever is in
// it; fleetDir is the folder of the fleet.
func platformReasons(file, fleetDir string) []string {
	if fleetDir != "." {
		file = strings.TrimPrefix(file, fleetDir+"/")
	}
	top, rest, _ := strings.Cut(file, "/")
	below, _, _ := strings.Cut(rest, "/")
	switch {
	case slices.Contains(codeOwnersFiles, file):
		return []string{"CODEOWNERS decides who approves changes; the one of base holds until this is merged"}
	case slices.Contains(forgeFiles, top):
		return []string{"what runs on pull requests, and who may merge them, is the platform team's"}
	case top == tenantsDir && below == v1alpha1.PlatformDirectory:
		return []string{"profiles and what is cluster-wide are the platform team's"}
	case top == tenantsDir && rest == below:
		return []string{"a file beside the tenants' directories belongs to no tenant"}
	case top == "base":
		return []string{"the base is in every namespace that uses it"}
	case top == "policies":
		return []string{"policies hold for every tenant"}
	}
	return nil
}

// teamFields of Tenant.spec are the tenant's own: what it is called, and who of
// its people has which role within its limits. All else is what it is granted.
var teamFields = map[string]bool{"displayName": true, "owners": true}

// limitsChanged is why the platform team has to approve changes of Tenants, by
// the file that a Tenant is in.
func limitsChanged(base, head *review.Side) map[string][]string {
	reasons := map[string][]string{}
	names := map[string]bool{}
	for name := range base.Tenants {
		names[name] = true
	}
	for name := range head.Tenants {
		names[name] = true
	}
	for name := range names {
		old, now := tenantOf(base, name), tenantOf(head, name)
		switch {
		case old == nil && now == nil:
		case old == nil:
			add(reasons, now, fmt.Sprintf("Tenant %q is new: its limits are the platform team's to set", now.Value.Name))
		case now == nil:
			add(reasons, old, fmt.Sprintf("Tenant %q goes, or cannot be read: its limits are the platform team's to take away", old.Value.Name))
		default:
			if fields := changedLimits(&old.Value.Spec, &now.Value.Spec); len(fields) > 0 {
				add(reasons, now, "changes limits of the Tenant: "+strings.Join(fields, ", "))
			}
		}
	}
	return reasons
}

type tenantObject = fleet.Object[*v1alpha1.Tenant]

func tenantOf(side *review.Side, name string) *tenantObject {
	if t := side.Tenants[name]; t != nil && t.Tenant != nil {
		return t.Object
	}
	return nil
}

func add(reasons map[string][]string, o *tenantObject, reason string) {
	file := path.Join(tenantsDir, o.File)
	reasons[file] = append(reasons[file], reason)
	slices.Sort(reasons[file])
}

// changedLimits names the fields of spec that differ and are not the team's own.
// Objects of a fleet carry defaults, so that writing one out is no change.
func changedLimits(old, now *v1alpha1.TenantSpec) []string {
	var fields []string
	compareFields("spec", reflect.ValueOf(old).Elem(), reflect.ValueOf(now).Elem(), 2, &fields)
	slices.Sort(fields)
	return fields
}

// compareFields goes a number of structs deep: "spec.namespaces.max" says enough.
func compareFields(at string, old, now reflect.Value, depth int, fields *[]string) {
	for i := range old.NumField() {
		name, _, _ := strings.Cut(old.Type().Field(i).Tag.Get("json"), ",")
		if at == "spec" && teamFields[name] {
			continue
		}
		o, n := old.Field(i), now.Field(i)
		switch {
		case equality.Semantic.DeepEqual(o.Interface(), n.Interface()):
		case o.Kind() == reflect.Struct && depth > 1:
			compareFields(at+"."+name, o, n, depth-1, fields)
		default:
			*fields = append(*fields, at+"."+name)
		}
	}
}

// readCodeOwners reads the CODEOWNERS of a side, and says what of it says nothing.
func readCodeOwners(side *review.Side) (*codeOwners, []review.Finding, error) {
	var findings []review.Finding
	var found *codeOwners
	for _, file := range codeOwnersFiles {
		data, err := files.Read(side.RuleFiles(), file, maxCodeOwnersBytes)
		switch {
		case errors.Is(err, files.ErrLink), errors.Is(err, files.ErrLarge):
			findings = append(findings, review.Finding{
				Risk: review.Info, Category: CodeOwnersInvalid, Place: review.Place{File: file},
				Title: fmt.Sprintf("%s of base gives nobody a right: %s", file, strings.TrimPrefix(err.Error(), file+": ")),
			})
			continue
		case err != nil:
			return nil, nil, err
		case data == nil:
			continue
		case found != nil:
			findings = append(findings, review.Finding{
				Risk: review.Info, Category: CodeOwnersInvalid, Place: review.Place{File: file},
				Title: fmt.Sprintf("%s of base is not read, since %s is there; keep one of them", file, found.file),
			})
			continue
		}
		found = parseCodeOwners(file, data)
	}
	if found == nil {
		return &codeOwners{}, findings, nil
	}
	if len(found.faults) > 0 {
		findings = append(findings, invalidLines(found))
	}
	return found, findings, nil
}

// invalidLines reports what could not be read, with its lines.
func invalidLines(c *codeOwners) review.Finding {
	f := review.Finding{
		Risk: review.Info, Category: CodeOwnersInvalid,
		Place: review.Place{File: c.file, Line: c.faults[0].line},
		Title: fmt.Sprintf("%s of base has %s, which %s", c.file, lines(len(c.faults)), giveNoRight(len(c.faults))),
	}
	for i, fault := range c.faults {
		if i == mostFaults {
			f.Details = append(f.Details, fmt.Sprintf("and %d more", len(c.faults)-i))
			break
		}
		f.Details = append(f.Details, fmt.Sprintf("%s:%d: %s", c.file, fault.line, fault.message))
	}
	return f
}

func lines(n int) string {
	if n == 1 {
		return "a line that cannot be read"
	}
	return fmt.Sprintf("%d lines that cannot be read", n)
}

func giveNoRight(n int) string {
	if n == 1 {
		return "gives nobody a right"
	}
	return "give nobody a right"
}

// codeOwnersChanged shows that the rules themselves would change.
func codeOwnersChanged(c files.Change) review.Finding {
	verb := map[review.Action]string{review.Created: "is new", review.Changed: "changes", review.Deleted: "goes"}[c.Action]
	return review.Finding{
		Risk: review.High, Category: CodeOwnersChanged, Place: review.Place{File: c.Path},
		Title: fmt.Sprintf("%s %s: who owns what is judged by base until this is merged", c.Path, verb),
	}
}

// fold sorts approvals. When there are more than a person reads, one for each
// tenant, base component or policy stands for those that are alike.
func fold(approvals []review.Approval) []review.Approval {
	slices.SortFunc(approvals, byPath)
	if len(approvals) <= mostPaths {
		return approvals
	}
	type alike struct{ dir, owners, reason string }
	counts := map[alike]int{}
	kept := map[alike]int{}
	var folded []review.Approval
	for _, a := range approvals {
		key := alike{directoryOf(a.Path), strings.Join(a.Owners, " "), a.Reason}
		counts[key]++
		if _, ok := kept[key]; !ok {
			kept[key] = len(folded)
			folded = append(folded, a)
		}
	}
	for key, i := range kept {
		if n := counts[key]; n > 1 {
			folded[i].Path = key.dir
			folded[i].Reason += fmt.Sprintf(" (%d files)", n)
		}
	}
	slices.SortFunc(folded, byPath)
	return folded
}

// directoryOf is "tenants/acme/" of "tenants/acme/web/ns.yaml".
func directoryOf(file string) string {
	parts := strings.SplitN(file, "/", 3)
	return strings.Join(parts[:min(2, len(parts)-1)], "/") + "/"
}

func byPath(a, b review.Approval) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Reason, b.Reason))
}
