package controlplane

import (
	"fmt"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Snapshot is the component that takes snapshots of etcd. Its certificate is called
// etcd-backup.
const (
	Snapshot   = "snapshot"
	etcdBackup = "etcd-backup"
)

// LabelName names the control plane of a Job, of which a CronJob is the owner.
const LabelName = "controlplane.aetherplatform.cloud/name"

const (
	// snapshotProgram is in an image of ours, with the program at its root.
	snapshotProgram = "aether-etcd"
	snapshotsFolder = "/snapshots"
	snapshotsVolume = "snapshots"
	restoreFolder   = "/etc/kubernetes/restore"
	restoreKey      = "snapshot"
	// terminationLog is what the kubelet shows of a container that has ended.
	terminationLog = corev1.TerminationMessagePathDefault
)

// SnapshotClaim names the volume of the control plane's snapshots.
func (p *Plan) SnapshotClaim() string { return p.name("snapshots") }

// SnapshotObjects are what takes snapshots on a schedule, and the volume for them; none
// where none are asked for.
func (p *Plan) SnapshotObjects() (claim *corev1.PersistentVolumeClaim, schedule *batchv1.CronJob) {
	asked := p.cp.Spec.Etcd.Snapshots
	if asked == nil {
		return nil, nil
	}
	claim = &corev1.PersistentVolumeClaim{ObjectMeta: p.meta(p.SnapshotClaim(), Snapshot), Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: asked.Volume.StorageClassName,
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: asked.Volume.Size}},
	}}
	// Snapshots outlive the control plane: they are what another one is made of.
	claim.OwnerReferences = nil
	schedule = &batchv1.CronJob{ObjectMeta: p.meta(p.name(Snapshot), Snapshot), Spec: batchv1.CronJobSpec{
		Schedule: asked.Schedule, TimeZone: ptr.To("Etc/UTC"), ConcurrencyPolicy: batchv1.ForbidConcurrent,
		Suspend:                    ptr.To(p.cp.Spec.Hibernated),
		StartingDeadlineSeconds:    ptr.To[int64](3600),
		SuccessfulJobsHistoryLimit: ptr.To[int32](2), FailedJobsHistoryLimit: ptr.To[int32](2),
		JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.jobLabels()}, Spec: p.snapshotJob()},
	}}
	return claim, schedule
}

// SnapshotLeavings are what to take away when no snapshots are asked for any more. Those
// that were taken stay.
func (p *Plan) SnapshotLeavings() []client.Object {
	return []client.Object{
		&batchv1.CronJob{ObjectMeta: p.meta(p.name(Snapshot), Snapshot)},
		&networkingv1.NetworkPolicy{ObjectMeta: p.meta(p.name(Snapshot), Snapshot)},
		&certmanager.Certificate{ObjectMeta: p.meta(p.PKI(etcdBackup), "")},
	}
}

// SnapshotBefore is a snapshot that is taken once, before the upgrade that a generation of
// the spec asks for.
func (p *Plan) SnapshotBefore(generation int64) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: p.meta(fmt.Sprintf("%s-%d", p.name("upgrade"), generation), Snapshot), Spec: p.snapshotJob()}
	job.Labels = p.jobLabels()
	job.Spec.TTLSecondsAfterFinished = ptr.To[int32](7 * 24 * 3600)
	return job
}

func (p *Plan) jobLabels() map[string]string {
	labels := p.selector(Snapshot)
	labels[LabelManagedBy] = ManagedBy
	labels[LabelName] = p.cp.Name
	return labels
}

// SnapshotJobs finds the Jobs that take snapshots of this control plane.
func (p *Plan) SnapshotJobs() map[string]string {
	return map[string]string{LabelName: p.cp.Name, LabelComponent: Snapshot}
}

func (p *Plan) snapshotJob() batchv1.JobSpec {
	var f flags
	f.set("endpoint", fmt.Sprintf("https://%s:%d", p.host(p.name(Etcd)), etcdClientPort))
	f.set("ca", trusted(EtcdCA))
	f.set("cert", pkiFile(etcdBackup, certFile))
	f.set("key", pkiFile(etcdBackup, keyFile))
	f.set("folder", snapshotsFolder)
	f.set("keep", p.cp.Spec.Etcd.Snapshots.Keep)
	f.set("report", terminationLog)

	var mounted files
	mounted.certificates(p, etcdBackup)
	mounted.trust(p, EtcdCA)
	pod := p.pod(Snapshot, corev1.Container{
		Name: Snapshot, Image: p.opts.SnapshotImage, Command: append([]string{"/" + snapshotProgram, "snapshot"}, f...),
		Resources: requests("50m", "64Mi"), VolumeMounts: append(mounted.mounts, corev1.VolumeMount{Name: snapshotsVolume, MountPath: snapshotsFolder}),
	}, append(mounted.volumes, claimed(p.SnapshotClaim(), false)))
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.Affinity = nil
	return batchv1.JobSpec{BackoffLimit: ptr.To[int32](2), ActiveDeadlineSeconds: ptr.To[int64](3600), Template: pod}
}

func claimed(claim string, only bool) corev1.Volume {
	return corev1.Volume{Name: snapshotsVolume, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim, ReadOnly: only}}}
}

// RestoreMap says which snapshot members without data begin with. It says none once the
// members have begun: one whose volume is lost later takes its data from the others, and
// not from the past.
func (p *Plan) RestoreMap(begun bool) *corev1.ConfigMap {
	from := p.cp.Spec.Etcd.RestoreFrom
	if from == nil {
		return nil
	}
	cm := &corev1.ConfigMap{ObjectMeta: p.meta(p.name("restore"), Etcd), Data: map[string]string{}}
	if !begun {
		cm.Data[restoreKey] = from.Snapshot
	}
	return cm
}

// restores has a member begin with a snapshot, if its volume is empty.
func (p *Plan) restores(pod *corev1.PodTemplateSpec, cluster []string, self string) {
	from := p.cp.Spec.Etcd.RestoreFrom
	if from == nil {
		return
	}
	var f flags
	f.set("folder", snapshotsFolder)
	f.set("asked", restoreFolder+"/"+restoreKey)
	f.set("data", etcdMember)
	f.set("name", "$(POD_NAME)")
	f.set("peer-url", fmt.Sprintf("https://%s:%d", self, etcdPeerPort))
	f.set("cluster", strings.Join(cluster, ","))
	f.set("token", p.cp.UID)
	main := pod.Spec.Containers[0]
	pod.Spec.InitContainers = []corev1.Container{{
		Name: "restore", Image: p.opts.SnapshotImage, ImagePullPolicy: main.ImagePullPolicy, Command: append([]string{"/" + snapshotProgram, "restore"}, f...),
		Env: main.Env, Resources: requests("100m", "128Mi"), SecurityContext: main.SecurityContext.DeepCopy(),
		VolumeMounts: []corev1.VolumeMount{
			{Name: etcdData, MountPath: etcdFolder},
			{Name: snapshotsVolume, MountPath: snapshotsFolder, ReadOnly: true},
			{Name: "restore", MountPath: restoreFolder, ReadOnly: true},
		},
	}}
	// Of this control plane or of another one in the namespace.
	pod.Spec.Volumes = append(pod.Spec.Volumes, claimed(from.ClaimName, false), corev1.Volume{Name: "restore", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: p.name("restore")}, DefaultMode: ptr.To(readable)},
	}})
}
