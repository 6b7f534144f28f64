from mnist_flax.reporting import figures


def test_the_plot_of_a_single_epoch_has_its_number_and_hides_no_point():
    row = {'epoch': 1, 'train_accuracy': 0.9, 'test_accuracy': 0.91}
    figure = figures.accuracy_plot({'': [[row]]}, 'title', 'test')
    (axes,) = figure.axes
    figure.canvas.draw()
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    legend = axes.get_legend().get_window_extent()
    points = [axes.transData.transform((1, of)) for of in (0.9, 0.91)]
    assert not any(legend.contains(*point) for point in points)
