"""The profile of a training step: which function counts for what, and the work that the net asks for."""

import pytest

from benchmarks import caffe_nets
from benchmarks.step_profile import GROUPS, REST, multiply_adds, shares, table
from facealign.engines.pycaffe import import_caffe

REPORT = """
# Overhead  Symbol
    30.00%  [.] caffe::v4::Tile<16, 8, 3, 16, (caffe::v4::Start)2, caffe::v4::EvenLeft, caffe::v4::EvenRight>
    10.00%  [.] caffe::v3::CorrelateBy<caffe::v3::Correlation<3, 3, false> >
     5.00%  [.] caffe::v3::Combine
     5.00%  [k] clear_page_erms
"""


def test_shares_add_up_to_all_that_was_seen():
    found = shares(REPORT)
    assert found[GROUPS[0][0]] == pytest.approx(60)
    assert found[GROUPS[1][0]] == pytest.approx(20)
    assert found[GROUPS[2][0]] == pytest.approx(10)
    assert found[REST] == pytest.approx(10)
    with pytest.raises(ValueError, match="no function"):
        shares("# nothing")


def test_the_work_is_that_of_the_published_net(tmp_path):
    caffe_nets.write_nets(tmp_path)
    name = caffe_nets.net_name(stock=False, noise=False)
    net = import_caffe().Net(str(tmp_path / f"{name}.prototxt"), import_caffe().TRAIN)
    products, filters = multiply_adds(net)
    # Depthwise, by the table of the network: channels times pixels of the output, nine taps, three passes.
    channels = [(96, 16), (144, 16), (144, 8), (192, 8), (192, 4), (192, 4)]
    assert filters == 3 * 9 * 64 * sum(width * side**2 for width, side in channels)
    # The published count is of 8.4 M multiply-adds a face and pass, filters and products.
    forward = products + filters
    assert 3 * 64 * 8.4e6 < forward < 4 * 64 * 8.4e6


def test_table_names_time_and_distance_from_the_peak():
    rows = table(100.0, shares(REPORT), (10**9, 10**8), peak=100.0, threads=1)
    # 60 ms for 2 GFLOP are 33 of 100 GFLOP/s.
    assert f"| {GROUPS[0][0]} | 60 % | 60.0 | 2.00 | 33 % |" in rows
    assert f"| {REST} | 10 % | 10.0 | | |" in rows
