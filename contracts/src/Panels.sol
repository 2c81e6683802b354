// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes} from "./interfaces/IDisputes.sol";
import {Lottery} from "./Lottery.sol";

/// The notaries who judge a dispute, and their votes: first hashed, then opened, so that nobody votes
/// after another's lead. A panel has 3f + 1 seats where there are so many, at most 31: every loop here
/// is bounded by that.
abstract contract Panels is IDisputes {
    enum Ballot {
        None,
        Committed,
        Guilty,
        Innocent
    }

    /// One slot.
    struct Juror {
        address notary;
        Ballot ballot;
    }

    /// One slot.
    struct Count {
        uint40 commitEnd;
        uint40 revealEnd;
        /// What the accused is slashed if guilty, what a juror is who did not vote.
        uint16 bps;
        uint16 absentBps;
        uint8 committed;
        uint8 guilty;
        uint8 innocent;
        /// Votes that convict.
        uint8 convicting;
    }

    mapping(uint256 id => Juror[]) private _panels;
    mapping(uint256 id => Count) internal _counts;
    mapping(uint256 id => mapping(address notary => bytes32)) private _votes;

    /// @inheritdoc IDisputes
    function panelOf(uint256 id) external view returns (address[] memory panel) {
        Juror[] storage jurors = _panels[id];
        panel = new address[](jurors.length);
        for (uint256 i = 0; i < panel.length; ++i) {
            panel[i] = jurors[i].notary;
        }
    }

    /// Seats a panel of at most `most` from the candidates, without repetition, each seat by the bonds of
    /// those who are left: identities that share a bond are together drawn as often as one that holds it.
    /// Returns the panel, empty where nobody weighs. Both arrays are used up.
    function _seat(
        uint256 id,
        bytes32 seed,
        uint256 most,
        address[] memory candidates,
        uint256[] memory bonds
    ) internal returns (address[] memory panel) {
        uint256 left = 0;
        for (uint256 i = 0; i < bonds.length; ++i) {
            if (bonds[i] == 0) continue;
            bonds[left] = Lottery.ticket(seed, candidates[i], bonds[i]);
            candidates[left] = candidates[i];
            ++left;
        }
        // Fewer seats than wished are all taken: the fewer judge, the more each false one counts.
        uint256 size = most < left ? most : left;
        panel = new address[](size);
        _counts[id].convicting = uint8(_convicting(size, candidates.length));
        for (uint256 j = 0; j < size; ++j) {
            uint256 first = 0;
            for (uint256 i = 1; i < left; ++i) {
                if (bonds[i] < bonds[first]) first = i;
            }
            panel[j] = candidates[first];
            _panels[id].push(Juror(panel[j], Ballot.None));
            --left;
            (candidates[first], bonds[first]) = (candidates[left], bonds[left]);
        }
    }

    function _commitVote(uint256 id, bytes32 vote) internal {
        Juror storage juror = _juror(id, msg.sender);
        if (juror.ballot != Ballot.None) revert AlreadyVoted(msg.sender);
        juror.ballot = Ballot.Committed;
        _votes[id][msg.sender] = vote;
        _counts[id].committed += 1;
        emit VoteCommitted(id, msg.sender);
    }

    function _revealVote(uint256 id, bool guilty, bytes32 salt) internal {
        Juror storage juror = _juror(id, msg.sender);
        if (juror.ballot == Ballot.None) revert VoteDoesNotMatch();
        if (juror.ballot != Ballot.Committed) revert AlreadyVoted(msg.sender);
        // Names the voter: a copied hash opens for nobody else.
        bytes32 vote =
            keccak256(abi.encode(block.chainid, address(this), id, msg.sender, guilty, salt));
        if (vote != _votes[id][msg.sender]) revert VoteDoesNotMatch();
        juror.ballot = guilty ? Ballot.Guilty : Ballot.Innocent;
        if (guilty) _counts[id].guilty += 1;
        else _counts[id].innocent += 1;
        emit VoteRevealed(id, msg.sender, guilty);
    }

    /// Everybody has voted: no later vote can be led by an opened one.
    function _allCommitted(uint256 id) internal view returns (bool) {
        return _counts[id].committed == _panels[id].length;
    }

    /// Of 3f + 1 jurors at most f are false, so f + 1 acquit: a true one is among them. Of two or three,
    /// likewise two.
    function _verdict(uint256 id) internal view returns (Phase) {
        Count memory count = _counts[id];
        if (count.guilty >= count.convicting) return Phase.Guilty;
        uint256 acquitting = (_panels[id].length + 1) / 3 + 1;
        return count.innocent >= acquitting ? Phase.Dismissed : Phase.Inconclusive;
    }

    /// 2f + 1 of 3f + 1 jurors; all of two or three, as large panels cannot be filled where a root's
    /// signers are left out, and among the rest the false are no longer one in three. With four notaries
    /// one may be false: then no juror convicts alone, or honest signers would lose their bonds to whoever
    /// is left over to judge them.
    function _convicting(uint256 size, uint256 seats) private pure returns (uint256) {
        return size == 1 && seats > 3 ? 2 : (2 * size) / 3 + 1;
    }

    /// Who did not open a vote; `withheld` tells those who had committed to one.
    function _absent(uint256 id)
        internal
        view
        returns (address[] memory absent, bool[] memory withheld, uint256 number)
    {
        Juror[] storage jurors = _panels[id];
        absent = new address[](jurors.length);
        withheld = new bool[](jurors.length);
        for (uint256 i = 0; i < absent.length; ++i) {
            Juror memory juror = jurors[i];
            if (juror.ballot == Ballot.Guilty || juror.ballot == Ballot.Innocent) continue;
            absent[number] = juror.notary;
            withheld[number] = juror.ballot == Ballot.Committed;
            ++number;
        }
    }

    function _juror(uint256 id, address notary) private view returns (Juror storage) {
        Juror[] storage jurors = _panels[id];
        for (uint256 i = 0; i < jurors.length; ++i) {
            if (jurors[i].notary == notary) return jurors[i];
        }
        revert NotOnPanel(notary);
    }
}
