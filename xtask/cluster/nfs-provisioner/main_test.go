package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func provisionerOf(t *testing.T) *provisioner {
	t.Helper()
	export := t.TempDir()
	root, err := os.OpenRoot(export)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return &provisioner{server: "192.0.2.1", export: export, root: root}
}

func (p *provisioner) volumeFor(t *testing.T, claim string) *v1.PersistentVolume {
	t.Helper()
	volume, _, err := p.Provision(context.Background(), controller.ProvisionOptions{
		PVName:       "pvc-1",
		StorageClass: &storage.StorageClass{},
		PVC:          &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: claim}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return volume
}

func TestAClaimGetsAFolderThatItsPodsMayWrite(t *testing.T) {
	p := provisionerOf(t)
	path := p.volumeFor(t, "claim").Spec.NFS.Path
	if path != filepath.Join(p.export, "ns-claim-pvc-1") {
		t.Fatal(path)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o777 {
		t.Fatal(info, err)
	}
}

func TestAClaimThatIsAskedForAgainKeepsItsData(t *testing.T) {
	p := provisionerOf(t)
	file := filepath.Join(p.volumeFor(t, "claim").Spec.NFS.Path, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.volumeFor(t, "claim")
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
}

func TestALongNameIsCutAndStaysUnique(t *testing.T) {
	p := provisionerOf(t)
	name := filepath.Base(p.volumeFor(t, strings.Repeat("c", 253)).Spec.NFS.Path)
	if len(name) != 255 || !strings.HasSuffix(name, "-pvc-1") {
		t.Fatal(name)
	}
}

func TestDeleteRemovesTheVolumesFolderAndNothingElse(t *testing.T) {
	p := provisionerOf(t)
	volume := p.volumeFor(t, "claim")
	made := volume.Spec.NFS.Path
	for _, other := range []string{p.export, p.export + "/..", filepath.Dir(p.export), p.export + "/other"} {
		volume.Spec.NFS.Path = other
		if p.Delete(context.Background(), volume) == nil {
			t.Errorf("removed %s", other)
		}
	}
	volume.Spec.NFS.Path = made
	for range 2 { // the second time as after an answer that was lost
		if err := p.Delete(context.Background(), volume); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(p.export); err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
}
