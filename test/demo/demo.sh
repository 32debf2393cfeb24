#!/usr/bin/env bash
# The whole path once, as a person would walk it: a key, a bundle from a registry, a machine with
# no way out, a running application, and nothing left. `make demo` builds what it needs first.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d /var/tmp/airgap-demo-XXXX)
readonly work
readonly site=${work##*/} # the network namespace that plays the machine
readonly data=$work/node  # its data folder
readonly podinfo=6.9.2
readonly port=5099 # of the registry; Debian starts one of its own at 5000
export COSIGN_PASSWORD=demo
export AIRGAP_DATA_DIR=$work/desk # where the desk's executable unpacks itself: root's would stay in /var/lib/airgap

bold='' dim='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() {
	printf '%s$ %s%s\n' "$dim" "${*//$work\//}" "$plain"
	"$@"
}
here() { nsenter --net="/run/netns/$site" "$@"; }       # at the machine
airgap() { AIRGAP_DATA_DIR=$data here bin/airgap "$@"; } # airgap there

registry=
cleanup() {
	status=$?
	if [ -e "$data/current" ]; then airgap uninstall --yes --data-dir "$data" || status=1; fi
	if [ -n "$registry" ]; then kill "$registry" 2>/dev/null || true; fi
	ip netns delete "$site" 2>/dev/null || true
	rm -rf "$work"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say "At the desk: a registry on loopback serves podinfo, an application nobody here wrote"
cat >"$work/registry.yml" <<-END
	version: 0.1
	storage: {filesystem: {rootdirectory: $work/registry}}
	http: {addr: "127.0.0.1:$port"}
	log: {level: error}
END
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry=$!
for _ in $(seq 50); do
	if curl -fs http://127.0.0.1:$port/v2/ >/dev/null; then break; fi
	if ! kill -0 "$registry" 2>/dev/null; then
		cat "$work/registry.log" >&2
		exit 1
	fi
	sleep 0.1
done
skopeo copy -q --all --dest-tls-verify=false \
	"oci:build/podinfo/image:localhost:5000/podinfo:$podinfo" "docker://localhost:$port/podinfo:$podinfo"
curl -fs http://127.0.0.1:$port/v2/podinfo/tags/list

say "At the desk: a key, and a signed bundle"
show bin/airgap keygen --output-key-prefix "$work/site"
cp -r build/podinfo/chart "$work/podinfo"
cat >"$work/values.yaml" <<-END
	image: {repository: localhost:$port/podinfo, tag: $podinfo}
END
cat >"$work/airgap.yaml" <<-END
	apiVersion: airgap/v1
	kind: Bundle
	metadata: {name: site-a, version: 1.0.0}
	spec:
	  from: [$PWD/dist/system.airgap]
	  platforms: [linux/$(dpkg --print-architecture)]
	  charts:
	    - {name: podinfo, chart: ./podinfo, namespace: demo, values: values.yaml}
END
show cat "$work/airgap.yaml"
show bin/airgap images -f "$work/airgap.yaml" --why
show bin/airgap build -f "$work/airgap.yaml" -o "$work/site.airgap" --key "$work/site.key" --from-key dist/development.pub
show bin/airgap verify "$work/site.airgap" --key "$work/site.pub"
kill "$registry"
wait "$registry" 2>/dev/null || true
registry=

say "At the site: a machine whose only network is a cable to nowhere"
ip netns add "$site"
ip -n "$site" link set lo up
ip -n "$site" link add eth0 type veth peer name cable
ip -n "$site" address add 10.99.0.2/24 dev eth0
ip -n "$site" link set eth0 up
ip -n "$site" link set cable up
show here ip route
if here ping -c1 -W1 192.0.2.1 >/dev/null 2>&1; then
	echo "error: the machine has a way out" >&2
	exit 1
fi

say "At the site: install from the stick"
began=$(date +%s%N)
show airgap install "$work/site.airgap" --key "$work/site.pub" --init none --data-dir "$data" --node-name ship-1
took=$((($(date +%s%N) - began) / 100000000))
printf 'from the stick to podinfo ready: %d.%d s\n' $((took / 10)) $((took % 10))

say "What runs there"
# The install waits for the bundle's own releases; the packaged components may need a moment longer.
airgap kubectl -n kube-system wait --for=condition=Ready helmchart/traefik --timeout=60s >/dev/null
airgap kubectl -n kube-system wait --for=condition=Available deployment --all --timeout=60s >/dev/null
show airgap status --data-dir "$data"
show airgap kubectl get nodes -o wide
show airgap kubectl get pods -A
show airgap helm list -A

say "podinfo's page, through its Service, from the machine"
address=$(airgap kubectl -n demo get service podinfo -o 'jsonpath={.spec.clusterIP}')
show here curl -sS --max-time 10 "http://$address:9898/"
echo

say "through Traefik, by a name and with TLS"
airgap kubectl -n demo create ingress podinfo --rule='podinfo.ship/*=podinfo:9898' >/dev/null
for _ in $(seq 50); do
	if here curl -sk --max-time 2 --resolve podinfo.ship:443:10.99.0.2 https://podinfo.ship/version | grep -q version; then break; fi
	sleep 0.2
done
show here curl -sSk --max-time 10 --resolve podinfo.ship:443:10.99.0.2 https://podinfo.ship/version
echo

say "and through the cluster's DNS, from a pod"
busybox=$(bin/airgap inspect dist/system.airgap --key dist/development.pub | grep -o 'airgap.internal/busybox:[^ ]*' | head -n 1)
show airgap kubectl run ask --image="$busybox" --restart=Never -- \
	timeout 10 wget -qO- http://podinfo.demo.svc.cluster.local:9898/version
airgap kubectl wait --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s pod/ask >/dev/null
show airgap kubectl logs ask
echo

say "Uninstall, and nothing is left"
show airgap uninstall --yes --data-dir "$data"
if left=$(ls -A "$data" 2>/dev/null) && [ -n "$left" ]; then
	echo "error: left in $data: $left" >&2
	exit 1
fi
if here ip -o link | grep -E 'cni0|: veth'; then
	echo "error: interfaces are left" >&2
	exit 1
fi
echo "no process, mount, interface or file of it remains"
