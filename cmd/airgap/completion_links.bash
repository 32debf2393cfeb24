
# Links to airgap by which it is a client alone.
for __airgap_link in kubectl helm ctr crictl; do
    if [[ $(type -P "$__airgap_link") -ef $(type -P airgap) ]]; then
        complete -o default -F __start_airgap "$__airgap_link"
    fi
done
unset __airgap_link
