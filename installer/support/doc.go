// Package support gathers what somebody far away needs to help with a node, into one archive that a technician
// carries out on the stick.
//
//	airgap-support-node-1-20261123T010203Z.tar.gz
//	  index.txt          what each file is: read it first
//	  status.txt …       what the node says of itself
//	  config/            the configuration, without secrets
//	  install/           the journal and the reports of installs
//	  logs/              the node's, the service manager's, the kernel's, the containers'
//	  cluster/           nodes, pods, events
//	  machine/           disks, mounts, memory, processes, control groups
//	  network/           addresses, routes, firewall, listeners
//	  notes.txt          what could not be had, was cut short, or hidden
//
// # Promises
//
//   - It works while the node is down: what depends on it is noted as missing, after a bounded wait.
//   - It is bounded: each file, all of them together ([maxTotalBytes], before compression), each command, and the
//     whole ([DefaultTimeout]).
//   - No secret of the node is in it: no key, token or password that the node keeps, and none that looks like one. Keys
//     and tokens are read from where they lie, and every text is searched for them before it is written (see [scrubber]);
//     files that hold nothing else are never read into it. The arguments of other programs' processes, and all
//     environments, are left out.
//   - A file under its final name is complete.
package support
