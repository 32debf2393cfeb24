// Package sbom finds out which software is in container images, from their layers as they stream by, and
// writes it down as an SPDX 2.3 document.
//
// It reads what says so by itself and is small: the package databases of Debian and its kin
// (/var/lib/dpkg/status, and status.d as distroless images have it) and of Alpine (/lib/apk/db/installed), the name of the distribution
// (os-release), and the build information that Go leaves in executables. Each layer is read once, in a memory that does not depend on its size;
// what an upper layer replaces or removes is not in the image. RPM databases, and the packages of other languages, are not read: an
// image in which nothing was found is in the document as a whole, and the document says so.
//
// The same layers give the same document, to the byte.
package sbom
