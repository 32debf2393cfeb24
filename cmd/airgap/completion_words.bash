# The package bash-completion, which a bare machine lacks, defines this function. What follows calls it as
# _get_comp_words_by_ref -n =: cur prev words cword, to have = and : be parts of words. This does that alone.
if ! declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref()
    {
        local i joined=0
        words=() cword=0
        for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
            # A part that is only = or :, and the one after it, belong to the word before, unless a space divides them.
            if ((i > 0 && ${#words[@]} > 1)) && [[ ${COMP_WORDS[i]} == +([=:]) || $joined == 1 ]] &&
                [[ ${COMP_LINE} == *"${words[-1]}${COMP_WORDS[i]}"* ]]; then
                words[-1]+=${COMP_WORDS[i]}
            else
                words+=("${COMP_WORDS[i]}")
            fi
            joined=0
            [[ ${COMP_WORDS[i]} == +([=:]) ]] && joined=1
            ((i == COMP_CWORD)) && cword=$((${#words[@]} - 1))
        done
        cur=${words[cword]} prev=
        ((cword > 0)) && prev=${words[cword - 1]}
        return 0
    }
fi
