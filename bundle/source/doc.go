// Package source turns an airgap.yaml into the contents of a bundle: it reads and checks
// the file ([Load]), finds the images that charts and manifests name
// ([FindImages]), and gathers everything that the bundle carries ([Gather]).
//
// # Where images come from
//
//	docker.io/library/nginx:1.29     a registry, with the credentials of the Docker configuration (docker:// may stand before)
//	oci:./out/app:latest             an OCI image layout, and which of its images
//	oci-archive:./app.tar.zst:1.2    the same in a tar, in any compression
//	docker-archive:./app.tar         what `docker save` writes, in any compression
//	spec.from                        another signed bundle, wherever package media finds one but in standard input
//
// A source that knows its digests is not read when it is gathered: only indexes,
// manifests and configs are. Layers stream from the source when the bundle is written,
// and the writer checks them against the digests gathered here. Archives of the
// old Docker kind know no digests and are hashed first; a compressed archive
// is first expanded into an unnamed temporary file, because its layers are needed out of order. A bundle of spec.from that is in a registry, or on a
// server that gives parts of files, is read blob by blob; one that is in parts or on another server is copied into a temporary file.
//
// # Which images are found
//
// Charts are rendered as an install would, hooks and CRDs included, and once more for a cluster that has every API version the
// chart asks for. The charts in HelmCharts (helm.cattle.io/v1), of spec.manifests or made by other charts, are rendered as the node's
// Helm controller will, with the values of their HelmChartConfigs and of Secrets that are in the bundle. Carried are
//   - the images of typed PodSpecs, of PodSpecs inside custom resources, and of a chart's annotation helm.sh/images;
//   - as guesses, which spec.ignoreImages can rule out: fields of custom resources that are called as images are, and objects in
//     the data of ConfigMaps.
//
// Hints are reported, but carried only if spec.images lists them: arguments and variables of containers, lines of ConfigMaps,
// the tests of a chart unless its entry wants them, values that it does not use as it is configured, and annotations
// that list what a chart may use.
//
// # What of an image is carried
//
// An index is carried as it is, so that its digest stays true, with what the wanted platforms need and no more: of each, the
// manifest that containerd would take there (linux/arm/v7 takes v6 if there is no v7; no platform takes another
// architecture's), its config and layers. Attestations and signatures among an index' children are left out. Layers may be
// gzip, zstd or plain, foreign too if somebody gives them. What a machine could not unpack is refused here: Docker's schema 1,
// encrypted layers, a config for another architecture than the index says or with another number of layers.
//
// # Reproducible
//
// Tags move. [Lock] is the content of airgap.lock: the digest of everything that came from
// elsewhere, and the issue time. A second Gather with the same inputs and that
// lock gives the same content to the byte.
package source
