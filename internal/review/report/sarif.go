package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/review"
)

// Rules of what is not a finding.
const (
	ruleError     = "NotApplied"
	ruleViolation = "PolicyViolation"
)

// maxResults is what forges take of one run.
const maxResults = 5000

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool       sarifTool         `json:"tool"`
	ColumnKind string            `json:"columnKind"`
	Results    []sarifResult     `json:"results"`
	Properties map[string]string `json:"properties,omitempty"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string    `json:"id"`
	ShortDescription sarifText `json:"shortDescription"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID              string            `json:"ruleId"`
	RuleIndex           int               `json:"ruleIndex"`
	Level               string            `json:"level"`
	Message             sarifText         `json:"message"`
	Locations           []sarifLocation   `json:"locations,omitempty"`
	PartialFingerprints map[string]string `json:"partialFingerprints"`
	BaselineState       string            `json:"baselineState,omitempty"`
	Properties          map[string]string `json:"properties,omitempty"`
}

type sarifLocation struct {
	PhysicalLocation sarifPhysical `json:"physicalLocation"`
}

type sarifPhysical struct {
	ArtifactLocation sarifArtifact `json:"artifactLocation"`
	Region           *sarifRegion  `json:"region,omitempty"`
}

type sarifArtifact struct {
	URI       string `json:"uri"`
	URIBaseID string `json:"uriBaseId"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

// sarifRules are all, so that a rule's index is the same in every report.
var sarifRules = []sarifRule{
	{ruleError, sarifText{"A part of the fleet would not be applied"}},
	{ruleViolation, sarifText{"An admission policy would refuse an object"}},
	{string(review.RightsGained), sarifText{"A subject gains rights"}},
	{string(review.RightsLost), sarifText{"A subject loses rights"}},
	{string(review.NetworkOpened), sarifText{"The network is opened"}},
	{string(review.NetworkClosed), sarifText{"The network is closed"}},
	{string(review.PodSecurity), sarifText{"The Pod Security level changes"}},
	{string(review.QuotaMoved), sarifText{"Quota moves"}},
	{string(review.DataDeleted), sarifText{"Data is deleted"}},
	{string(review.SoftDeleted), sarifText{"Data is kept for the retention time, then deleted"}},
	{string(review.NameClaimed), sarifText{"A name is claimed"}},
	{string(review.NameReleased), sarifText{"A name is released"}},
	{string(review.SecretSource), sarifText{"The source of a secret changes"}},
	{string(review.Immutable), sarifText{"An object cannot be changed in place"}},
	{string(review.BlastRadius), sarifText{"Many namespaces change at once"}},
	{string(review.Exception), sarifText{"A tenant is let off a rule of the platform for a time"}},
	{string(review.TenantLimits), sarifText{"The limits of a tenant change"}},
	{string(review.PolicyChanged), sarifText{"A policy changes"}},
	{string(review.IsolationEroded), sarifText{"Isolation between tenants is reduced"}},
}

// SARIF writes errors, new violations and findings as SARIF 2.1.0, for what shows
// them at the lines of the pull request. Places are relative to the root of the
// repository.
func SARIF(w io.Writer, r *review.Report) error {
	v := newView(r)
	s := &sarif{rules: slices.Clone(sarifRules), seen: map[string]int{}, results: []sarifResult{}}
	s.addErrors(v)
	s.addViolations(v)
	s.addFindings(v)
	properties := map[string]string{}
	if r.Head.Digest != "" {
		properties["renderDigest"] = r.Head.Digest
	}
	if n := len(s.results) - maxResults; n > 0 {
		s.results = s.results[:maxResults]
		properties["omittedResults"] = fmt.Sprint(n)
	}
	return writeJSON(w, sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs: []sarifRun{{
			Tool: sarifTool{sarifDriver{
				Name: "aether", InformationURI: "https://github.com/aetherplatform/aether", Rules: s.rules,
			}},
			ColumnKind: "unicodeCodePoints",
			Results:    s.results,
			Properties: properties,
		}},
	})
}

type sarif struct {
	rules   []sarifRule
	results []sarifResult
	seen    map[string]int
}

func (s *sarif) addErrors(v *view) {
	for _, e := range v.errors {
		level, state := "error", "new"
		if e.Old {
			level, state = "note", "unchanged"
		}
		s.add(sarifResult{RuleID: ruleError, Level: level, BaselineState: state, Message: sarifText{inert(e.Message, maxMessage)}},
			e.Place, e.Tenant, e.Message)
	}
}

func (s *sarif) addViolations(v *view) {
	for _, x := range v.refused {
		if x.Old {
			continue
		}
		text := fmt.Sprintf("%s: policy %s: %s", full(x.Object), inert(x.Policy, maxName), inert(x.Message, maxMessage))
		s.add(sarifResult{RuleID: ruleViolation, Level: "error", BaselineState: "new", Message: sarifText{text}},
			x.Place, x.Tenant, text)
	}
}

func (s *sarif) addFindings(v *view) {
	for _, f := range v.findings {
		level := "note"
		if f.Risk == review.High || f.Risk == review.Medium {
			level = "warning"
		}
		lines := []string{inert(f.Title, maxMessage)}
		for _, d := range f.Details {
			lines = append(lines, inert(d, maxMessage))
		}
		s.add(sarifResult{
			RuleID: string(f.Category), Level: level, Message: sarifText{strings.Join(lines, "\n")},
			Properties: map[string]string{"risk": string(f.Risk)},
		}, v.placeOf(f), strings.Join(f.Tenants, ","), f.Title)
	}
}

// placeOf is where a finding is shown: forges refuse one that is nowhere.
func (v *view) placeOf(f review.Finding) review.Place {
	if f.Place.File != "" {
		return f.Place
	}
	for _, c := range v.Changes {
		if c.Place.File != "" && (slices.Contains(f.Namespaces, c.Namespace) ||
			len(f.Namespaces) == 0 && slices.Contains(f.Tenants, c.Tenant)) {
			return c.Place
		}
	}
	return review.Place{}
}

// add adds a result with a fingerprint that stays while lines move.
func (s *sarif) add(r sarifResult, at review.Place, tenant, text string) {
	r.RuleIndex = slices.IndexFunc(s.rules, func(x sarifRule) bool { return x.ID == r.RuleID })
	if r.RuleIndex < 0 {
		r.RuleIndex = len(s.rules)
		s.rules = append(s.rules, sarifRule{r.RuleID, sarifText{r.RuleID}})
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{r.RuleID, at.File, tenant, text}, "\x00")))
	fingerprint := hex.EncodeToString(sum[:])
	s.seen[fingerprint]++
	if n := s.seen[fingerprint]; n > 1 {
		fingerprint += fmt.Sprintf(":%d", n)
	}
	r.PartialFingerprints = map[string]string{"aether/v1": fingerprint}

	file := cmp.Or(at.File, "tenants")
	place := sarifPhysical{ArtifactLocation: sarifArtifact{(&url.URL{Path: file}).String(), "%SRCROOT%"}}
	if at.Line > 0 {
		place.Region = &sarifRegion{at.Line}
	}
	r.Locations = []sarifLocation{{place}}
	s.results = append(s.results, r)
}
